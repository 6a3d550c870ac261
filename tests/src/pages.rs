//! Pages and files that are made of the code, or in part: `make docs` writes them, and tests compare them with what would be
//! written.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// When it is set, pages are written instead of compared.
const WRITE: &str = "FHIRCAST_WRITE_DOCS";

/// The folder of the project.
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// Compares a file of the project with what is to be in it, or writes it.
///
/// # Errors
/// Something else is in it: says what the first change is.
pub fn up_to_date(file: &str, page: &str) -> Result<()> {
    let path = root().join(file);
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    if written == page {
        return Ok(());
    }
    let changed = written.lines().zip(page.lines()).find(|(written, made)| written != made);
    bail!("{file} is not up to date: run `make docs`; the first change: {changed:?}");
}
