//! Where peers may be found: names are resolved again and again until there is a view, beside the engine.

use crate::{Endpoint, Group, Instant};
use std::net::{SocketAddr, ToSocketAddrs};
use std::thread::JoinHandle;

/// Names are resolved again at this distance.
const AGAIN_NS: u64 = 1_000_000_000;
/// Between two looks at whether an answer has come.
const LOOK_NS: u64 = 1_000_000;

/// The seeds of one group.
#[derive(Debug)]
pub(crate) struct Seeds {
    pub(crate) group: Group,
    names: Vec<String>,
    local: Endpoint,
    /// The resolver, while it is at it: it may take seconds, and holds up nobody.
    at_work: Option<JoinHandle<Resolved>>,
    look_at: Instant,
    again_at: Instant,
    unknown: Vec<UnknownSeed>,
}

/// What names mean now, and those that mean nothing.
type Resolved = (Vec<Endpoint>, Vec<UnknownSeed>);

/// A seed that names no place: it is tried again every second.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownSeed {
    /// As it was given.
    pub seed: String,
    /// What the resolver says.
    pub why: String,
}

impl Seeds {
    /// Of this group, as seen from `local`.
    pub(crate) fn new(group: Group, names: Vec<String>, local: Endpoint) -> Self {
        let (look_at, again_at) = (Instant::default(), Instant::default());
        Self { group, names, local, at_work: None, look_at, again_at, unknown: Vec::new() }
    }

    /// Those that meant nothing when they were looked up last.
    pub(crate) fn unknown(&self) -> &[UnknownSeed] {
        &self.unknown
    }

    /// The addresses among them.
    pub(crate) fn literal(names: &[String], local: Endpoint) -> Vec<Endpoint> {
        let literal = names.iter().filter_map(|name| name.parse::<SocketAddr>().ok());
        literal.map(|address| Endpoint(address).seen_from(local)).collect()
    }

    /// Whether some are names.
    pub(crate) fn has_names(names: &[String]) -> bool {
        names.iter().any(|name| name.parse::<SocketAddr>().is_err())
    }

    /// What they mean now, when that was found out anew.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Vec<Endpoint>> {
        if now < self.look_at {
            return None;
        }
        self.look_at = now.plus_ns(LOOK_NS);
        if self.at_work.as_ref().is_some_and(JoinHandle::is_finished) {
            self.again_at = now.plus_ns(AGAIN_NS);
            let (found, unknown) = self.at_work.take()?.join().ok()?;
            self.unknown = unknown;
            return Some(found);
        }
        if self.at_work.is_none() && now >= self.again_at {
            let (names, local) = (self.names.clone(), self.local);
            self.at_work = std::thread::Builder::new()
                .name("sistrum-seeds".into())
                .spawn(move || resolve(&names, local))
                .ok();
        }
        None
    }
}

/// All addresses of these names, of the family of `local`, and the names without any.
fn resolve(names: &[String], local: Endpoint) -> Resolved {
    let (mut all, mut unknown) = (Vec::new(), Vec::new());
    for name in names {
        let found = name.to_socket_addrs().map_err(|why| why.to_string()).and_then(|found| {
            let own = found.map(Endpoint).filter(|found| found.family() == local.family());
            let own: Vec<_> = own.map(|found| found.seen_from(local)).collect();
            if own.is_empty() { Err(format!("it has no {} address", local.family())) } else { Ok(own) }
        });
        match found {
            Ok(found) => all.extend(found),
            Err(why) => unknown.push(UnknownSeed { seed: name.clone(), why }),
        }
    }
    (all, unknown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::GroupId;

    #[test]
    fn names_are_resolved_beside_the_engine_and_again() {
        let local = Endpoint(([127, 0, 0, 1], 9).into());
        let names =
            vec!["localhost:7001".to_owned(), "127.0.0.2:7002".to_owned(), "no.such.name.invalid:1".into()];
        assert!(Seeds::has_names(&names) && !Seeds::has_names(&names[1..2]));
        assert_eq!(Seeds::literal(&names, local), [Endpoint(([127, 0, 0, 2], 7002).into())]);
        let mut seeds = Seeds::new(Group { index: 0, id: GroupId(1) }, names, local);
        for round in 1..3 {
            let mut found = None;
            for step in 0..60_000 {
                found = seeds.poll(Instant::default().plus_ns(round * 2 * AGAIN_NS + step * LOOK_NS / 100));
                if found.is_some() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            let found = found.expect("an answer");
            assert!(found.contains(&Endpoint(([127, 0, 0, 1], 7001).into())), "{found:?}");
            assert!(found.contains(&Endpoint(([127, 0, 0, 2], 7002).into())), "{found:?}");
            let [unknown] = seeds.unknown() else { panic!("{:?}", seeds.unknown()) };
            assert_eq!(unknown.seed, "no.such.name.invalid:1");
            assert!(!unknown.why.is_empty());
        }
    }
}
