//! Which partitions a worker answers first for: rendezvous hashing over the workers that live.
//!
//! Every worker comes to the same result on its own, and when one comes or goes only its share
//! moves. It is a division of attention, not of right: any worker may claim anything.

use openssl::sha::sha256;

/// The partitions of which `me` is the first responder among `workers`.
pub fn partitions_of(me: &str, workers: &[String], partitions: u16) -> Vec<u16> {
    let is_mine = |partition: &u16| {
        let mine = weight(me, *partition);
        workers.iter().all(|worker| worker == me || weight(worker, *partition) < mine)
    };
    (0..partitions).filter(is_mine).collect()
}

/// The greatest one responds. A hash that is the same in every version of this program.
fn weight(worker: &str, partition: u16) -> [u8; 32] {
    sha256(&[worker.as_bytes(), &partition.to_be_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shares(workers: &[String], partitions: u16) -> Vec<Vec<u16>> {
        workers.iter().map(|worker| partitions_of(worker, workers, partitions)).collect()
    }

    #[test]
    fn a_worker_that_is_alone_answers_for_all() {
        assert_eq!(partitions_of("a", &["a".into()], 4), [0, 1, 2, 3]);
        assert_eq!(partitions_of("a", &[], 2), [0, 1], "also while it is not yet known");
    }

    proptest! {
        #[test]
        fn every_partition_has_one_first_responder_and_only_the_share_of_one_that_goes_moves(count in 2usize..8, gone in 0usize..8) {
            let mut workers: Vec<String> = (0..count).map(|number| format!("worker-{number}")).collect();
            let before = shares(&workers, 256);
            let mut all: Vec<u16> = before.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..256).collect::<Vec<u16>>());

            let gone = gone % count;
            workers.remove(gone);
            let after = shares(&workers, 256);
            for (share, kept) in before.iter().enumerate().filter(|(index, _)| *index != gone).map(|(_, share)| share).zip(&after) {
                prop_assert!(share.iter().all(|partition| kept.contains(partition)));
            }
        }
    }
}
