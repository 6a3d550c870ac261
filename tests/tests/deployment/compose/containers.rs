//! What `docker compose up` starts, as local processes: the same commands, settings, configuration files and health checks,
//! in the same order.
//!
//! What a container engine would give each container is made of what any machine has. Its address is one of the loopback
//! network, its name is known to all of them (nss_wrapper, and a name server for the load balancer), and what is mounted is
//! a copy in a directory of its own. Only for that are the files and settings changed on the way: `0.0.0.0` is the
//! container's own address, ports are some that the system chose, and paths begin with the directory.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::name_server::{NameServer, Records};
use harness::process::{Process, program};
use harness::redis_server::free_ports;
use harness::wait::{PATIENCE, eventually};
use serde_json::Value;
use tempfile::TempDir;
use uuid::Uuid;

use crate::tools::{repository, yaml};

/// Every port of which a file speaks.
const PORTS: [u16; 6] = [6379, 26379, 8080, 9100, 8404, 9090];
/// The addresses of the machine that runs the containers, and of the load balancer, in their network.
const HOST: &str = "10.213.73.1";
const PROXY: &str = "10.213.73.2";

/// The services, and those that have been started.
pub struct Containers {
    // Ended before their directory goes.
    running: BTreeMap<String, Process>,
    services: BTreeMap<String, Value>,
    addresses: BTreeMap<String, Ipv4Addr>,
    ports: BTreeMap<u16, u16>,
    name_server: NameServer,
    directory: TempDir,
}

impl Containers {
    /// None of them is started.
    pub fn new() -> Containers {
        let compose = yaml("docker-compose.yml");
        let services: BTreeMap<String, Value> = serde_json::from_value(compose["services"].clone()).unwrap();
        // Two tests at once have two networks.
        let [a, b, ..] = *Uuid::new_v4().as_bytes();
        let address = |n: usize| Ipv4Addr::new(127, 1 + a % 254, b, u8::try_from(n + 1).unwrap());
        let addresses: BTreeMap<_, _> =
            services.keys().enumerate().map(|(n, name)| (name.clone(), address(n))).collect();
        let known = addresses.clone();
        let answers = move |name: &str| match known.get(name) {
            Some(address) => Records::Addresses(vec![(*address).into()]),
            None => Records::NoName,
        };
        let containers = Containers {
            running: BTreeMap::new(),
            services,
            addresses,
            ports: PORTS.into_iter().zip(free_ports::<{ PORTS.len() }>().unwrap()).collect(),
            name_server: NameServer::start(answers).unwrap(),
            directory: tempfile::tempdir().unwrap(),
        };
        let lines = containers.addresses.iter().map(|(name, address)| format!("{address} {name}\n"));
        std::fs::write(containers.hosts_file(), lines.collect::<String>()).unwrap();
        containers
    }

    /// Starts these and all that they need, each when what it waits for is healthy, and waits until they are healthy too.
    pub async fn up(&mut self, names: &[&str]) {
        let mut wanted: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut order: Vec<String> = Vec::new();
        while let Some(name) = wanted.last().cloned() {
            let needs = self.needs(&name);
            let missing: Vec<String> = needs.into_iter().filter(|need| !order.contains(need)).collect();
            if missing.is_empty() {
                wanted.pop();
                if !order.contains(&name) {
                    order.push(name);
                }
            } else {
                assert!(wanted.len() < 100, "the services wait for each other: {wanted:?}");
                wanted.extend(missing);
            }
        }
        let mut healthy: BTreeSet<String> = BTreeSet::new();
        for name in &order {
            for need in self.needs(name) {
                if healthy.insert(need.clone()) {
                    self.wait_healthy(&need).await;
                }
            }
            if !self.running.contains_key(name) {
                self.start(name);
            }
        }
        for name in names {
            self.wait_healthy(name).await;
        }
    }

    /// The process of a service.
    pub fn process(&mut self, name: &str) -> &mut Process {
        self.running.get_mut(name).unwrap()
    }

    /// Forgets the process of a service, so that it can be started again; one that runs is killed.
    pub fn remove(&mut self, name: &str) {
        self.running.remove(name).unwrap();
    }

    /// Where a service takes what comes for this port of its container.
    pub fn at(&self, name: &str, port: u16) -> String {
        format!("{}:{}", self.addresses[name], self.ports[&port])
    }

    /// Reads a file in a container.
    pub fn text(&self, name: &str, path: &str) -> impl Fn() -> String {
        let path = self.inside(name, path);
        move || std::fs::read_to_string(&path).unwrap()
    }

    /// What hubs and workers have printed that they must not.
    pub fn leaks(&self) -> Vec<String> {
        self.running.values().flat_map(Process::leaks).collect()
    }

    fn needs(&self, name: &str) -> Vec<String> {
        let needs = self.services[name]["depends_on"].as_object();
        needs
            .into_iter()
            .flatten()
            .map(|(need, how)| {
                assert_eq!(how["condition"], "service_healthy", "{name} needs {need}");
                need.clone()
            })
            .collect()
    }

    fn start(&mut self, name: &str) {
        let service = &self.services[name];
        let mut words = self.words(name, &service["entrypoint"]);
        words.extend(self.words(name, &service["command"]));
        if words[0].starts_with('-') {
            // Flags of the image's own entry point.
            words.insert(0, name.to_owned());
        }
        self.mount(name);
        let command = self.command(name, &words);
        let process = Process::start(name, command).unwrap();
        self.running.insert(name.to_owned(), process);
    }

    async fn wait_healthy(&self, name: &str) {
        let test = &self.services[name]["healthcheck"]["test"];
        let words = self.words(name, test);
        let words = match words[0].as_str() {
            "CMD" => words[1..].to_vec(),
            "CMD-SHELL" => vec!["sh".to_owned(), "-c".to_owned(), words[1].clone()],
            other => panic!("{name}: {other}"),
        };
        let what = format!("that {name} is healthy by {words:?}");
        let look = || async {
            let checked = self.command(name, &words).output().unwrap();
            checked.status.success().then_some(())
        };
        if let Err(error) = eventually(PATIENCE, &what, look).await {
            panic!("{error}:\n{}", self.running[name].log_tail());
        }
    }

    /// A command in the container of a service.
    fn command(&self, name: &str, words: &[String]) -> Command {
        let executable = program(&words[0]).unwrap_or_else(|_| PathBuf::from(&words[0]));
        let mut command = Command::new(executable);
        command.args(&words[1..]).env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        command.env("LD_PRELOAD", "libnss_wrapper.so").env("NSS_WRAPPER_HOSTS", self.hosts_file());
        // Of Go programs: ask as the others do.
        command.env("GODEBUG", "netdns=cgo");
        command.env("LB_DNS", self.name_server.address().to_string());
        command.env("LB_SOURCE", self.addresses[name].to_string());
        for (variable, value) in self.services[name]["environment"].as_object().into_iter().flatten() {
            // What has no value comes from outside, where nobody sets it.
            if let Some(value) = value.as_str() {
                command.env(variable, self.local(name, &interpolated(value)));
            }
        }
        let directory = self.services[name]["working_dir"].as_str().unwrap_or_default();
        command.current_dir(self.inside(name, directory));
        command
    }

    fn words(&self, name: &str, words: &Value) -> Vec<String> {
        let words = words.as_array().into_iter().flatten();
        words.map(|word| self.local(name, &interpolated(word.as_str().unwrap()))).collect()
    }

    /// Puts what the service mounts into its directory.
    fn mount(&self, name: &str) {
        std::fs::create_dir_all(self.inside(name, "")).unwrap();
        for (source, target) in mounts(&self.services[name]) {
            let inside = self.inside(name, &target);
            if source.starts_with("./") {
                self.copy(name, &repository().join(source), &inside);
            } else {
                std::fs::create_dir_all(inside).unwrap();
            }
        }
    }

    fn copy(&self, name: &str, from: &Path, to: &Path) {
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        if from.is_dir() {
            std::fs::create_dir_all(to).unwrap();
            for entry in from.read_dir().unwrap() {
                let entry = entry.unwrap();
                self.copy(name, &entry.path(), &to.join(entry.file_name()));
            }
            return;
        }
        let text =
            std::fs::read_to_string(from).unwrap_or_else(|error| panic!("{}: {error}", from.display()));
        std::fs::write(to, self.local(name, &text)).unwrap();
        std::fs::set_permissions(to, from.metadata().unwrap().permissions()).unwrap();
    }

    /// A text as it has to be here: addresses, ports and paths.
    fn local(&self, name: &str, text: &str) -> String {
        let mut text = text.replace("0.0.0.0", &self.addresses[name].to_string());
        text = text.replace(PROXY, &self.addresses["proxy"].to_string());
        text = text.replace(HOST, &Ipv4Addr::LOCALHOST.to_string());
        for (_, target) in mounts(&self.services[name]) {
            let inside = self.inside(name, &target).display().to_string();
            for before in ["", "=", "  - "] {
                let (path, here) = (format!("{before}{target}"), format!("{before}{inside}"));
                if before.is_empty() && text.starts_with(&path) {
                    text = text.replacen(&path, &here, 1);
                } else if !before.is_empty() {
                    text = text.replace(&path, &here);
                }
            }
        }
        numbers_replaced(&text, &self.ports)
    }

    fn inside(&self, name: &str, path: &str) -> PathBuf {
        self.directory.path().join(name).join(path.trim_start_matches('/'))
    }

    fn hosts_file(&self) -> PathBuf {
        self.directory.path().join("hosts")
    }
}

/// What a service mounts: a path of the repository that begins with `./`, or the name of a volume, and where.
pub fn mounts(service: &Value) -> Vec<(String, String)> {
    let volumes = service["volumes"].as_array().into_iter().flatten();
    let parts =
        volumes.map(|volume| volume.as_str().unwrap().split(':').map(str::to_owned).collect::<Vec<_>>());
    parts.map(|parts| (parts[0].clone(), parts[1].clone())).collect()
}

/// A value of the file with nothing set in the environment: `${NAME:-default}` is its default, `$$` is `$`.
pub fn interpolated(text: &str) -> String {
    let (mut rest, mut made) = (text, String::new());
    while let Some((before, after)) = rest.split_once('$') {
        made.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            made.push('$');
            rest = after;
        } else {
            let (variable, after) = after.strip_prefix('{').and_then(|after| after.split_once('}')).unwrap();
            made.push_str(variable.split_once(":-").unwrap_or_else(|| panic!("{variable} has no default")).1);
            rest = after;
        }
    }
    made + rest
}

/// The text with each of these whole numbers replaced.
fn numbers_replaced(text: &str, numbers: &BTreeMap<u16, u16>) -> String {
    let mut made = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let digits = rest[start..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |end| start + end);
        made.push_str(&rest[..start]);
        let number = &rest[start..digits];
        match number.parse().ok().and_then(|number: u16| numbers.get(&number)) {
            Some(other) => made.push_str(&other.to_string()),
            None => made.push_str(number),
        }
        rest = &rest[digits..];
    }
    made + rest
}

#[test]
fn values_are_interpolated_and_ports_replaced_as_whole_numbers() {
    assert_eq!(interpolated("a ${X:-b c} $$NAME ${Y:-}"), "a b c $NAME ");
    let ports = BTreeMap::from([(6379, 1), (80, 2)]);
    assert_eq!(numbers_replaced("redis1:6379,26379 80 8080:6379", &ports), "redis1:1,26379 2 8080:1");
}
