//! The report as text.

use std::fmt::{Display, Formatter};

use super::Report;

impl Display for Report {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        let target =
            if self.floor { "bare echo (the floor)".to_owned() } else { format!("{} hub(s)", self.hubs) };
        writeln!(
            out,
            "{target}: {} sockets and {} callbacks on {} topics, {} events/s of {} bytes for {} s after {} s of warm-up\n",
            self.sockets,
            self.callbacks,
            self.topics,
            self.rate,
            self.payload_bytes,
            self.seconds,
            self.warmup_seconds
        )?;
        let events = &self.events;
        writeln!(
            out,
            "events      offered {}, accepted {} ({:.1}/s), unanswered {}, refused {}",
            events.offered,
            events.accepted,
            events.accepted_per_second,
            events.unanswered,
            events.refused_by_status.values().sum::<u64>()
        )?;
        for (status, count) in &events.refused_by_status {
            writeln!(out, "            refused with {status}: {count}")?;
        }
        let deliveries = &self.deliveries;
        writeln!(
            out,
            "deliveries  expected {}, delivered {} ({:.1}/s)",
            deliveries.expected, deliveries.delivered, deliveries.per_second
        )?;
        writeln!(
            out,
            "            lost {}, duplicated {}, out of order {}, unknown {}, retried {}, sockets cut off {}\n",
            deliveries.lost,
            deliveries.duplicated,
            deliveries.out_of_order,
            deliveries.unknown,
            deliveries.retried,
            deliveries.sockets_cut_off
        )?;
        writeln!(
            out,
            "{:<22}{:>10}{:>10}{:>10}{:>10}{:>12}",
            "latency in ms", "p50", "p99", "p99.9", "max", "count"
        )?;
        for (name, latency) in [
            ("publish to answer", &self.latency_us.publish_to_answer),
            ("publish to frame", &self.latency_us.publish_to_frame),
            ("publish to callback", &self.latency_us.publish_to_callback),
        ] {
            if let Some(latency) = latency {
                write!(out, "{name:<22}")?;
                for micros in [latency.p50, latency.p99, latency.p999, latency.max] {
                    write!(out, "{:>10.3}", micros as f64 / 1000.0)?;
                }
                writeln!(out, "{:>12}", latency.count)?;
            }
        }
        write!(
            out,
            "\n{:<14}{:>9}{:>9}{:>13}{:>13}{:>13}{:>12}{:>12}",
            "process", "pid", "CPU s", "us/delivery", "MiB before", "MiB sockets", "KiB/socket", "MiB at end"
        )?;
        for cost in &self.processes {
            let mebibytes = |bytes: u64| bytes as f64 / (1024.0 * 1024.0);
            let or_dash = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.1}"));
            write!(
                out,
                "\n{:<14}{:>9}{:>9.2}{:>13}{:>13.1}{:>13.1}{:>12}{:>12.1}",
                cost.name,
                cost.pid,
                cost.cpu_seconds,
                or_dash(cost.cpu_us_per_delivery),
                mebibytes(cost.rss_before_sockets_bytes),
                mebibytes(cost.rss_with_sockets_bytes),
                or_dash(cost.rss_per_socket_bytes.map(|bytes| bytes as f64 / 1024.0)),
                mebibytes(cost.rss_at_end_bytes)
            )?;
        }
        Ok(())
    }
}
