//! The gates of a config.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use ipnet::IpNet;

use super::flags::Flags;
use super::haproxy::HaproxyPublisher;
use super::map::MapFile;
use super::reload::Reload;
use super::{Gate, files};
use crate::config::gate::{ApacheGate, Gates, LighttpdGate, NginxGate};
use crate::enforce::{apache, lighttpd, nginx};

/// All of them. `classes`: the networks of each client class.
#[must_use]
pub fn gates(gates: &Gates, classes: &BTreeMap<String, Vec<IpNet>>) -> Vec<Box<dyn Gate>> {
    let mut all: Vec<Box<dyn Gate>> = Vec::new();
    for gate in &gates.nginx {
        of_nginx(gate, &mut all);
    }
    for gate in &gates.apache {
        of_apache(gate, &mut all);
    }
    for gate in &gates.lighttpd {
        all.push(Box::new(of_lighttpd(gate)));
    }
    for gate in &gates.haproxy {
        all.push(Box::new(HaproxyPublisher::new(gate, classes)));
    }
    for gate in &gates.list {
        all.push(Box::new(files::plain_list(gate)));
    }
    for gate in &gates.json {
        all.push(Box::new(files::all_as_json(gate)));
    }
    all
}

fn of_nginx(gate: &NginxGate, all: &mut Vec<Box<dyn Gate>>) {
    if let Some(folder) = &gate.flags {
        let render = Box::new(nginx::flags);
        let flags = Flags::new(
            named("nginx", folder),
            folder.clone(),
            nginx::is_flag,
            render,
        );
        all.push(Box::new(flags));
    }
    if let Some(path) = &gate.map {
        let map = MapFile::new(
            named("nginx", path),
            path.clone(),
            Box::new(nginx::map),
            nginx::write_map,
            nginx::read_map,
        );
        all.push(Box::new(match &gate.reload {
            Some(reload) => {
                let reload = Reload::new(reload).for_map(path, Instant::now());
                map.with_nudge(Box::new(reload))
            }
            None => map,
        }));
    }
}

fn of_apache(gate: &ApacheGate, all: &mut Vec<Box<dyn Gate>>) {
    if let Some(folder) = &gate.flags {
        let render = Box::new(apache::flags);
        let flags = Flags::new(
            named("apache", folder),
            folder.clone(),
            apache::is_flag,
            render,
        );
        all.push(Box::new(flags));
    }
    if let Some(path) = &gate.map {
        let map = MapFile::new(
            named("apache", path),
            path.clone(),
            Box::new(apache::map),
            apache::write_map,
            apache::read_map,
        );
        all.push(Box::new(map));
    }
}

fn of_lighttpd(gate: &LighttpdGate) -> Flags {
    let folder = &gate.flags;
    Flags::new(
        named("lighttpd", folder),
        folder.clone(),
        lighttpd::is_flag,
        Box::new(lighttpd::flags),
    )
}

fn named(server: &str, path: &Path) -> String {
    format!("{server} {}", path.display())
}
