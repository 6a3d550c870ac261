//! The units for machines without containers, and the file of settings that comes with them.

use std::path::Path;
use std::process::Command;

use harness::process::program;

use crate::tools::{repository, run, text};

const PROGRAMS: [&str; 2] = ["fhircast-hub", "fhircast-worker"];

/// The worst exposure that `systemd-analyze security` may find, of 100: what is left is the network, which they are for.
const EXPOSURE: u32 = 15;

fn unit(program: &str) -> String {
    text(&format!("deploy/systemd/{program}.service"))
}

/// The last value of a directive.
fn directive<'a>(unit: &'a str, name: &str) -> &'a str {
    let mut values = unit.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    values.next_back().unwrap_or_else(|| panic!("no {name}"))
}

/// What a program makes of a file of settings beside what its unit says of the environment.
fn settings(program_name: &str, file: &Path) -> toml::Table {
    let mut command = Command::new(program(program_name).unwrap());
    command.env_clear().arg("--config").arg(file).arg("--print-config");
    let unit = unit(program_name);
    let variables = unit.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('='));
    toml::from_str(&run(command.envs(variables))).unwrap()
}

fn example() -> std::path::PathBuf {
    repository().join("deploy/systemd/fhircast.toml")
}

#[test]
fn systemd_takes_the_units_and_finds_little_that_they_leave_open() {
    let folder = tempfile::tempdir().unwrap();
    let threshold = format!("--threshold={EXPOSURE}");
    for name in PROGRAMS {
        // It looks for what is started.
        let here = unit(name)
            .replace(&format!("/usr/local/bin/{name}"), &program(name).unwrap().display().to_string());
        let file = folder.path().join(format!("{name}.service"));
        std::fs::write(&file, here).unwrap();
        let mut verify = Command::new("sh");
        verify.args(["-c", "systemd-analyze verify --man=no \"$0\" 2>&1"]).arg(&file);
        assert_eq!(run(&mut verify), "", "{name}");
        run(Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager", &threshold])
            .arg(&file));
    }
}

#[test]
fn the_units_differ_in_nothing_that_confines_them() {
    let confined = |name: &str| {
        let unit = unit(name);
        unit[unit.find("NoNewPrivileges").unwrap()..].to_owned()
    };
    assert_eq!(confined(PROGRAMS[0]), confined(PROGRAMS[1]));
}

#[test]
fn their_user_is_made_by_the_file_beside_them() {
    let made = text("deploy/systemd/fhircast.sysusers");
    for name in PROGRAMS {
        let unit = unit(name);
        assert!(made.contains(&format!("\nu {} - ", directive(&unit, "User"))), "{name}");
        assert_eq!(directive(&unit, "User"), directive(&unit, "Group"), "{name}");
    }
}

#[test]
fn the_example_of_settings_is_taken_by_both_programs_as_it_is_and_with_all_that_it_offers() {
    let offered = text("deploy/systemd/fhircast.toml");
    let all: Vec<&str> = offered
        .lines()
        .map(|line| {
            line.strip_prefix('#')
                .filter(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
                .unwrap_or(line)
        })
        .collect();
    assert_ne!(all, offered.lines().collect::<Vec<_>>());
    let folder = tempfile::tempdir().unwrap();
    let with_all = folder.path().join("all.toml");
    std::fs::write(&with_all, all.join("\n")).unwrap();
    for name in PROGRAMS {
        for file in [example(), with_all.clone()] {
            let settings = settings(name, &file);
            assert_eq!(settings["insecure"].as_bool(), Some(false), "{name}");
            assert_eq!(settings["auth"]["mode"].as_str(), Some("jwt"), "{name}");
        }
    }
}

#[test]
fn both_programs_may_run_on_one_machine() {
    let [hub, worker] = PROGRAMS.map(|name| settings(name, &example())["admin_listen"].clone());
    assert_ne!(hub, worker);
}

#[test]
fn a_stop_is_given_the_time_to_drain_and_there_may_be_many_sockets() {
    for name in PROGRAMS {
        let unit = unit(name);
        let drain = settings(name, &example())["drain_secs"].as_integer().unwrap();
        let stop: i64 = directive(&unit, "TimeoutStopSec").parse().unwrap();
        assert!(stop > drain + 6, "{name}: {stop} s for a drain of {drain} s");
        assert!(directive(&unit, "LimitNOFILE").parse::<u32>().unwrap() >= 65_536, "{name}");
        // What the program ends with when its settings are wrong: to start it again mends nothing.
        let mut wrong = Command::new(program(name).unwrap());
        let status =
            wrong.env_clear().args(["--set", "ping_secs=0"]).output().unwrap().status.code().unwrap();
        assert_eq!(directive(&unit, "RestartPreventExitStatus"), status.to_string(), "{name}");
    }
}
