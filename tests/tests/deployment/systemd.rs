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
    let mut files = Vec::new();
    for name in PROGRAMS {
        let restart =
            (format!("fhircast-restart@{name}.service"), text("deploy/systemd/fhircast-restart@.service"));
        let health = ["service", "timer"].map(|kind| format!("{name}-health.{kind}"));
        let health = health.map(|file| (file.clone(), text(&format!("deploy/systemd/{file}"))));
        for (file, unit) in health.into_iter().chain([restart, (format!("{name}.service"), unit(name))]) {
            // It looks for what is started.
            let here = unit
                .replace(&format!("/usr/local/bin/{name}"), &program(name).unwrap().display().to_string());
            let file = folder.path().join(file);
            std::fs::write(&file, here).unwrap();
            files.push(file);
        }
    }
    for file in files {
        let mut verify = Command::new("sh");
        verify.args(["-c", "systemd-analyze verify --man=no \"$0\" 2>&1"]).arg(&file);
        verify.env("SYSTEMD_UNIT_PATH", format!("{}:", folder.path().display()));
        assert_eq!(run(&mut verify), "", "{}", file.display());
        if file.extension().is_some_and(|kind| kind == "service") {
            run(Command::new("systemd-analyze")
                .args(["security", "--offline=true", "--no-pager", &threshold])
                .arg(&file));
        }
    }
}

#[test]
fn a_program_that_hangs_is_asked_where_it_answers_and_restarted_only_when_it_does_not() {
    for name in PROGRAMS {
        let unit = unit(name);
        let health = text(&format!("deploy/systemd/{name}-health.service"));
        // The same user, settings and confinement.
        for line in ["User", "Group", "EnvironmentFile"] {
            assert_eq!(directive(&health, line), directive(&unit, line), "{name}");
        }
        let listens = |unit: &str| {
            unit.lines().find(|line| line.starts_with("Environment=FHIRCAST_ADMIN_LISTEN")).map(str::to_owned)
        };
        assert_eq!(listens(&health), listens(&unit), "{name}");
        let confined = |unit: &str| {
            let rest = &unit[unit.find("NoNewPrivileges").unwrap()..];
            rest.split("[Install]").next().unwrap().trim().to_owned()
        };
        assert_eq!(confined(&health), confined(&unit), "{name}");
        assert_eq!(directive(&health, "OnFailure"), format!("fhircast-restart@{name}.service"));
        let restart = text("deploy/systemd/fhircast-restart@.service").replace("%i", name);
        assert!(directive(&restart, "ExecStart").ends_with(&format!(" try-restart {name}.service")));
        let timer = text(&format!("deploy/systemd/{name}-health.timer"));
        for line in ["PartOf", "WantedBy"] {
            assert_eq!(directive(&timer, line), format!("{name}.service"));
        }

        // What the unit runs, with a program in the place of this one that answers so.
        let command = directive(&health, "ExecStart").strip_prefix("/bin/sh -c '").unwrap();
        let command = command.strip_suffix('\'').unwrap().replace("$$", "$").replace("sleep $pause", ":");
        let asks = format!("/usr/local/bin/{name} health --config /etc/fhircast/fhircast.toml");
        let folder = tempfile::tempdir().unwrap();
        for (answers, ends, asked) in [("0 0 0", 0, 1), ("1 1 0", 0, 3), ("1 1 1", 1, 3), ("2 2 2", 2, 1)] {
            let note = folder.path().join(answers.replace(' ', "-"));
            let said = format!(
                "{{ echo >>{0}; set -- {answers}; shift $(($(wc -l <{0}) - 1)); (exit $1); }}",
                note.display()
            );
            let command = command.replace(&asks, &said);
            assert!(command.contains("set --"), "{name} asks otherwise: {command}");
            let status = Command::new("sh").args(["-c", &command]).status().unwrap();
            assert_eq!(status.code(), Some(ends), "{name}: {answers}: {command}");
            let times = std::fs::read_to_string(note).unwrap().lines().count();
            assert_eq!(times, asked, "{name}: {answers}");
        }
        assert_eq!(directive(&health, "SuccessExitStatus"), "2", "a restart would not help");
        let help = run(Command::new(program(name).unwrap()).args(["health", "--help"]));
        assert!(help.contains("with 2 when the settings do not allow to ask"), "{help}");
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
