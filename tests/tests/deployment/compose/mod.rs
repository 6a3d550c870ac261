//! docker-compose.yml and what it mounts: well-formed, in agreement with the programs, and fit for its purpose.

mod agreement;
mod containers;
mod form;
mod main_job;
