//! What an experiment is made with.

use std::path::PathBuf;

use anyhow::{Result, bail};

pub use crate::redis_shape::Shape;

/// The names of the shapes, as they are written on a command line.
pub const SHAPES: [(&str, Shape); 3] =
    [("single", Shape::Single), ("sentinel", Shape::Sentinel), ("cluster", Shape::Cluster)];

/// The name of a shape.
pub fn name_of(shape: Shape) -> &'static str {
    SHAPES.iter().find(|(_, known)| *known == shape).map_or("", |(name, _)| name)
}

/// The shape of this name.
pub fn shape_named(name: &str) -> Result<Shape> {
    match SHAPES.iter().find(|(known, _)| *known == name) {
        Some((_, shape)) => Ok(*shape),
        None => bail!("no shape is named {name:?}: single, sentinel or cluster"),
    }
}

/// What all experiments of one invocation have in common.
#[derive(Debug, Clone)]
pub struct Options {
    /// How Redis is run.
    pub shape: Shape,
    /// The setting `redis.durability`.
    pub durability: String,
    /// Events a second, over all topics.
    pub events_per_second: f64,
    /// For how long a fault that lasts does so, in seconds; `None`: as the fault says.
    pub hold_secs: Option<u64>,
    /// Where the journals and logs of an experiment go that found something.
    pub keep: PathBuf,
    /// Keep them also when nothing was found.
    pub keep_all: bool,
    /// Further settings of every hub and worker.
    pub settings: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            shape: Shape::Single,
            durability: PRIMARY.to_owned(),
            events_per_second: 40.0,
            hold_secs: None,
            keep: std::env::temp_dir().join("fhircast-faults"),
            keep_all: false,
            settings: Vec::new(),
        }
    }
}

/// The durability that the hub has unless it is told otherwise: such a setting is not given to it.
pub const PRIMARY: &str = "primary";
