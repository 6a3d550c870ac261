//! What is asked of all servers: each primary for its share of the partitions, all at once. One that is away, or a slot on
//! the move, keeps nobody waiting for the others.

use std::{collections::HashMap, future::Future, time::Duration};

use futures_util::future::join_all;
use redis::RedisResult;
use tokio::time::Instant;

use super::{connection::Connections, keys, link::Wire};
use crate::{
    lock::lock,
    settings::HostPort,
    store::{Result, StoreError},
};

/// How long ago an answer may be to count: the pause between two questions, and the time of one that got none.
const LATELY: Duration = Duration::from_secs(5);

impl Connections {
    /// Asks each primary for its share of some partitions, all at once.
    pub async fn ask_each<T, F>(
        &self,
        operation: &'static str,
        partitions: &[u16],
        ask: impl Fn(Wire, Vec<u16>) -> F,
    ) -> Vec<Result<T>>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let primaries = self.topology().primaries();
        let mut shares: HashMap<Option<&HostPort>, Vec<u16>> = HashMap::new();
        for partition in partitions {
            shares.entry(primaries.of(keys::slot_of(*partition))).or_default().push(*partition);
        }
        let ask = &ask;
        let asked = shares.into_iter().map(|(server, share)| async move {
            match self.ask_share(operation, server, &share, ask).await {
                Ok(Some(answer)) => vec![Ok(answer)],
                Ok(None) => self.ask_singly(operation, &share, ask).await,
                Err(error) => vec![Err(error)],
            }
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    /// Has this server answered lately what was asked of all? Somebody asks every second.
    pub fn has_answered(&self, server: &HostPort) -> bool {
        lock(&self.answered).get(server).is_some_and(|at| at.elapsed() < LATELY)
    }

    /// A slot has moved, or is on the move: the partitions of the others do not wait for that.
    async fn ask_singly<T, F>(
        &self,
        operation: &'static str,
        partitions: &[u16],
        ask: &impl Fn(Wire, Vec<u16>) -> F,
    ) -> Vec<Result<T>>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let asked = partitions.iter().map(|partition| async move {
            let primaries = self.topology().primaries();
            let server = primaries.of(keys::slot_of(*partition));
            let answer = self.ask_share(operation, server, &[*partition], ask).await?;
            let on_the_move = || format!("{operation}: partition {partition} is on the move");
            answer.ok_or_else(|| StoreError::Unavailable(on_the_move()))
        });
        join_all(asked).await
    }

    /// `None`: the server does not have all of these partitions, or not any more.
    async fn ask_share<T, F>(
        &self,
        operation: &'static str,
        server: Option<&HostPort>,
        share: &[u16],
        ask: &impl Fn(Wire, Vec<u16>) -> F,
    ) -> Result<Option<T>>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let Some(server) = server else {
            let problem = format!("{operation}: nobody has {} of the partitions", share.len());
            return Err(StoreError::Unavailable(problem));
        };
        let answer = self.call_share(operation, server, |wire| ask(wire, share.to_vec())).await?;
        lock(&self.answered).insert(server.clone(), Instant::now());
        Ok(answer)
    }
}

/// What those answered that did; the last problem if none did.
pub fn some<T>(answers: Vec<Result<T>>) -> Result<Vec<T>> {
    let (mut given, mut problem) = (Vec::new(), None);
    for answer in answers {
        match answer {
            Ok(answer) => given.push(answer),
            Err(error) => problem = Some(error),
        }
    }
    match problem {
        Some(error) if given.is_empty() => Err(error),
        _ => Ok(given),
    }
}
