//! One total order that agrees with as many sequences as there is one for.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::delivery::Id;

/// A place for each id such that every chain is ascending, if there is one; otherwise contradictions are
/// resolved in favour of the earlier chain.
pub(super) fn total_order<I: Id>(chains: &[(String, Vec<I>)]) -> HashMap<I, usize> {
    // Numbers in order of first appearance, so that smaller means "told of first".
    let mut numbers: HashMap<&I, usize> = HashMap::new();
    let mut ids: Vec<&I> = Vec::new();
    let mut followers: Vec<Vec<usize>> = Vec::new();
    let mut waits_for: Vec<usize> = Vec::new();
    let mut edges: HashSet<(usize, usize)> = HashSet::new();
    for (_, chain) in chains {
        let mut previous = None;
        for id in chain {
            let number = *numbers.entry(id).or_insert_with(|| {
                ids.push(id);
                followers.push(Vec::new());
                waits_for.push(0);
                ids.len() - 1
            });
            if let Some(previous) = previous.replace(number)
                && edges.insert((previous, number))
            {
                followers[previous].push(number);
                waits_for[number] += 1;
            }
        }
    }

    let mut ready: BTreeSet<usize> = (0..ids.len()).filter(|number| waits_for[*number] == 0).collect();
    let mut remaining: BTreeSet<usize> = (0..ids.len()).collect();
    let mut position = HashMap::with_capacity(ids.len());
    // In a circle nobody is ready: the one told of first goes ahead.
    while let Some(number) = ready.pop_first().or_else(|| remaining.first().copied()) {
        remaining.remove(&number);
        position.insert(ids[number].clone(), position.len());
        for follower in std::mem::take(&mut followers[number]) {
            waits_for[follower] -= 1;
            if waits_for[follower] == 0 && remaining.contains(&follower) {
                ready.insert(follower);
            }
        }
    }
    position
}
