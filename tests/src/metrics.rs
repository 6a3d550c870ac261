//! What a program measures about itself, as Prometheus scrapes it.

/// One scrape of a program's metrics, in Prometheus's text format.
pub struct Metrics(String);

impl From<String> for Metrics {
    fn from(page: String) -> Metrics {
        Metrics(page)
    }
}

impl Metrics {
    /// The sum of the series of `selector`: `name`, or `name{label="x"}`, whose labels a series must have among its own.
    /// `None` when there is no such series (yet).
    pub fn value(&self, selector: &str) -> Option<f64> {
        let (name, labels) = split_series(selector);
        let mut sum = None;
        for line in self.0.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let (series_name, series_labels) = split_series(series);
            if series_name == name && labels.iter().all(|label| series_labels.contains(label)) {
                sum = Some(sum.unwrap_or(0.0) + value.parse::<f64>().unwrap_or(f64::NAN));
            }
        }
        sum
    }

    /// The scrape as it was served.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// The name of a series, and its labels, each as `name="value"`.
fn split_series(series: &str) -> (&str, Vec<&str>) {
    match series.trim().split_once('{') {
        None => (series.trim(), Vec::new()),
        Some((name, labels)) => {
            let labels = labels.trim_end_matches('}');
            (name, labels.split_inclusive("\",").map(|label| label.trim_end_matches(',').trim()).collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_the_series_that_have_the_labels() {
        let metrics = Metrics(
            "# HELP hits_total Hits.\nhits_total{channel=\"a,b\",code=\"202\"} 3\nhits_total{channel=\"c\",code=\"202\"} 4\n\
             hits_total{channel=\"c\",code=\"503\"} 1\nup 1\n"
                .to_owned(),
        );
        assert_eq!(metrics.value("hits_total"), Some(8.0));
        assert_eq!(metrics.value("hits_total{code=\"202\"}"), Some(7.0));
        assert_eq!(metrics.value("hits_total{code=\"202\",channel=\"a,b\"}"), Some(3.0));
        assert_eq!(metrics.value("up"), Some(1.0));
        assert_eq!(metrics.value("hits"), None);
        assert_eq!(metrics.value("hits_total{code=\"2\"}"), None);
    }
}
