//! The config into routes: which listener is for which sources, and where their spools are.

use std::sync::Arc;

use super::listener::Listener;
use super::senders::Senders;
use super::spooler::{ListenerRoutes, Route, Routes, SourceSpool};
use super::{Place, Reception};
use crate::config::{Listen, SyslogSource};
use crate::source::spool::{self, Limits};

impl Reception {
    /// Of these listeners, for these sources.
    pub(super) fn routes(&self, listeners: &[Arc<Listener>], sources: &[SyslogSource]) -> Routes {
        let mut routes = Routes::default();
        for source in sources {
            routes.sources.push(self.spool_of(source));
        }
        for listener in listeners {
            routes
                .listeners
                .push(routes_of(listener, sources, &routes.sources));
        }
        routes
    }

    /// Adds listeners that go, with the sources that they had.
    pub(super) fn add_routes(
        &self,
        routes: &mut Routes,
        going: &[Place],
        earlier: &[SyslogSource],
    ) {
        for source in earlier {
            if !routes.sources.iter().any(|other| other.name == source.name) {
                routes.sources.push(self.spool_of(source));
            }
        }
        for place in going {
            let listener = &place.listener;
            routes
                .listeners
                .push(routes_of(listener, earlier, &routes.sources));
        }
    }

    fn spool_of(&self, source: &SyslogSource) -> SourceSpool {
        SourceSpool {
            name: source.name.clone(),
            folder: spool::folder(&self.state_dir, &source.name),
            limits: Limits {
                max_spool_bytes: source.max_spool_bytes,
            },
            counts: self.counters.source(&source.name),
        }
    }
}

/// The sources that listen there, in their order.
pub(super) fn sources_of<'s>(
    sources: &'s [SyslogSource],
    listen: &Listen,
) -> Vec<&'s SyslogSource> {
    let sources = sources.iter();
    sources
        .filter(|source| source.listen.contains(listen))
        .collect()
}

fn routes_of(
    listener: &Arc<Listener>,
    sources: &[SyslogSource],
    spools: &[SourceSpool],
) -> ListenerRoutes {
    let here = sources_of(sources, &listener.listen).into_iter();
    let routes = here.filter_map(|source| {
        Some(Route {
            source: spools.iter().position(|spool| spool.name == source.name)?,
            senders: Senders::of(source, listener.kind),
            accepts: source.accepts.clone(),
        })
    });
    ListenerRoutes {
        listener: Arc::clone(listener),
        routes: routes.collect(),
    }
}
