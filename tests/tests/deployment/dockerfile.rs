//! The image: that its recipe is tidy, that what it copies is enough to build, and that the programs find there what they
//! are linked to.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use harness::process::program;

use crate::tools::{repository, run, text, tool};

const FILE: &str = "deploy/Dockerfile";

/// What distroless "cc" has of libraries: glibc, OpenSSL 3, libgcc_s.
const LIBRARIES: [&str; 6] =
    ["libc.so.6", "libm.so.6", "libssl.so.3", "libcrypto.so.3", "libgcc_s.so.1", "ld-linux-x86-64.so.2"];

/// The instructions with their arguments, continued lines joined.
fn instructions() -> Vec<(String, String)> {
    let text = text(FILE).replace("\\\n", " ");
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parts = lines.map(|line| line.split_once(' ').unwrap());
    parts.map(|(name, arguments)| (name.to_owned(), arguments.trim().to_owned())).collect()
}

fn arguments(instruction: &str) -> Vec<String> {
    instructions()
        .into_iter()
        .filter(|(name, _)| name == instruction)
        .map(|(_, arguments)| arguments)
        .collect()
}

#[test]
fn hadolint_has_nothing_to_say() {
    run(Command::new(tool("hadolint")).args(["--failure-threshold", "style", FILE]));
}

#[test]
fn what_is_copied_is_let_through_and_is_enough_for_cargo() {
    let folder = tempfile::tempdir().unwrap();
    let copied = arguments("COPY").into_iter().filter(|arguments| !arguments.starts_with("--from"));
    let ignored = text(".dockerignore");
    for arguments in copied {
        let words: Vec<&str> = arguments.split_whitespace().collect();
        for source in &words[..words.len() - 1] {
            assert!(ignored.lines().any(|line| line == format!("!{source}")), "{source} is ignored");
            let done =
                Command::new("cp").arg("-r").arg(repository().join(source)).arg(folder.path()).status();
            assert!(done.unwrap().success(), "{source}");
        }
    }
    // Cargo looks at every member of the workspace, and at the lock file, before it builds anything.
    let mut metadata = Command::new("cargo");
    metadata.args([
        "metadata",
        "--locked",
        "--offline",
        "--format-version",
        "1",
        "--no-deps",
        "--manifest-path",
    ]);
    run(metadata.arg(folder.path().join("Cargo.toml")));
}

#[test]
fn the_programs_need_no_library_that_the_image_lacks() {
    let base = arguments("FROM").pop().unwrap();
    assert!(
        base.starts_with("gcr.io/distroless/cc-debian13"),
        "{base}: what is known here is of another image"
    );
    // glibc and OpenSSL of those who build and of those who run are of one release.
    assert!(arguments("FROM")[0].contains("trixie"));
    for name in ["fhircast-hub", "fhircast-worker"] {
        let listed = run(Command::new("objdump").arg("-p").arg(program(name).unwrap()));
        let needed: BTreeSet<&str> =
            listed.lines().filter_map(|line| line.trim().strip_prefix("NEEDED")).map(str::trim).collect();
        assert!(!needed.is_empty(), "{listed}");
        for library in needed {
            assert!(LIBRARIES.contains(&library), "{name} needs {library}");
        }
    }
}

#[test]
fn what_was_built_of_other_sources_is_never_taken_for_what_these_make() {
    let build = arguments("RUN").into_iter().find(|arguments| arguments.contains("cargo build")).unwrap();
    let kept: Vec<&str> = build
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("--mount=type=cache,target=")?.split(',').next())
        .collect();
    assert_eq!(kept, ["/usr/local/cargo/registry"], "cargo goes by times, which a checkout may put back");
}

#[test]
fn the_image_runs_as_nobody_in_particular_and_needs_no_shell() {
    assert_eq!(arguments("USER"), ["65532:65532"]);
    for instruction in ["ENTRYPOINT", "HEALTHCHECK"] {
        for arguments in arguments(instruction) {
            assert!(
                arguments.contains('[') && arguments.ends_with(']'),
                "{instruction} {arguments} needs a shell"
            );
        }
    }
    assert_eq!(arguments("ENTRYPOINT").len() + arguments("HEALTHCHECK").len(), 2);
    // What runs after the last FROM runs in the image, which has nothing to run it with.
    let names: Vec<String> = instructions().into_iter().map(|(name, _)| name).collect();
    let last = names.iter().rposition(|name| name == "FROM").unwrap();
    assert!(!names[last..].contains(&"RUN".to_owned()));
}

#[test]
fn its_health_check_is_a_command_of_the_program() {
    let check = arguments("HEALTHCHECK").pop().unwrap();
    let words: Vec<String> = serde_json::from_str(&check[check.find('[').unwrap()..]).unwrap();
    let name = Path::new(&words[0]).file_name().unwrap().to_str().unwrap().to_owned();
    let help = run(Command::new(program(&name).unwrap()).args(&words[1..]).arg("--help"));
    assert!(help.contains("--timeout-secs"), "{help}");
}

#[test]
fn its_version_is_that_of_the_programs() {
    let version = format!("VERSION={}", env!("CARGO_PKG_VERSION"));
    assert!(arguments("ARG").contains(&version), "{:?}", arguments("ARG"));
    assert!(
        text("docker-compose.yml").contains(&format!("image: fhircast-hub:{}\n", env!("CARGO_PKG_VERSION")))
    );
}
