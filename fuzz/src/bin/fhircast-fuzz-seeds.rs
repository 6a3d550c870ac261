//! Writes the seeds of each target into a folder, `FOLDER/corpus/TARGET/` and its words into `FOLDER/TARGET.dict`, and
//! prints the names of the targets.

#![allow(clippy::print_stdout)]

use std::{fs, io, path::Path};

fn main() -> io::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    for target in fuzz::targets() {
        let corpus = Path::new(&folder).join("corpus").join(target.name);
        fs::create_dir_all(&corpus)?;
        for (number, seed) in target.seeds().iter().enumerate() {
            fs::write(corpus.join(format!("seed-{number}")), seed)?;
        }
        let escaped = |byte: u8| format!("\\x{byte:02x}");
        let word = |word: &&str| format!("\"{}\"\n", word.bytes().map(escaped).collect::<String>());
        fs::write(
            Path::new(&folder).join(format!("{}.dict", target.name)),
            target.words.iter().map(word).collect::<String>(),
        )?;
        println!("{}", target.name);
    }
    Ok(())
}
