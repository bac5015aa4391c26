//! Histories that real processes have told: each writes one JSON object a line, and all together are judged like a simulated run.
//!
//! ```json
//! {"at_ns":17,"process":{"at":"127.0.0.1:7001","boot":5},"what":{"casts":{"number":0,"order":"total","safe":false,"len":64}}}
//! ```
//! **All processes tell the time by one clock of one host, and write a line to the file before they go on.** The time of a cast is
//! that before the call, and its line stands before the call too: who is killed in between has said what others may deliver.
//! That of everything else is the time at which it was known. What members hold, others cannot see: nothing is asked about that.

use super::{History, Message, Process, What};
use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use sistrum_ordering::{
    BootId, Change, Endpoint, GroupId, GroupInstance, Order, Promise, Rank, Reason, View, ViewId, ViewMember,
    ViewNumber,
};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

/// Who says something: an incarnation of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) at: SocketAddr,
    pub(crate) boot: u64,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) at_ns: u64,
    pub(crate) process: Identity,
    pub(crate) what: Said,
}

/// What a process says. The casts of a process are numbered from 0, its sync casts likewise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Said {
    Starts,
    Joins,
    Installs {
        group: u32,
        instance: u32,
        number: u32,
        members: Vec<Identity>,
        /// Ranks in this view.
        came: Vec<u16>,
        gone: Vec<Gone>,
        #[serde(default)]
        joining: Vec<u16>,
        #[serde(default)]
        readied: Vec<u16>,
    },
    /// Its state where that view begins, in short; it was given the group's; or why it was not.
    State(u64),
    Restored,
    TransferFailed(String),
    /// Sync casts took a number, and the members stayed.
    Renumbered(u32),
    Changes,
    /// How its view ends is decided.
    Cuts,
    Wedged,
    Resumed,
    /// By the view of this number.
    Excluded(u32),
    Leaves,
    Left,
    /// Said before the call.
    Casts {
        number: u32,
        order: String,
        safe: bool,
        len: usize,
    },
    CastsSync {
        number: u32,
        len: usize,
    },
    /// Said behind the call: the view that the cast went into, or that it was refused. Neither means that nobody knows.
    Sealed {
        number: u32,
        view: u32,
    },
    Refused {
        number: u32,
        sync: bool,
    },
    Delivers {
        from: Identity,
        number: u32,
        sync: bool,
        len: usize,
    },
    /// Bytes that are no such message.
    Alien {
        from: u16,
        len: usize,
    },
    Flushes(u64),
    Flushed(u64),
    Conflicts(String),
    /// Who killed it says this of it.
    Killed,
}

/// A member that does not go on.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Gone {
    pub(crate) member: Identity,
    /// It had asked for it.
    pub(crate) left: bool,
}

/// The lines of one file. The last one may be cut off: its writer was killed.
pub(crate) fn read(text: &str) -> Result<Vec<Line>> {
    let (whole, cut) = text.rsplit_once('\n').unwrap_or(("", text));
    let parse = |(at, line): (usize, &str)| {
        serde_json::from_str::<Line>(line).with_context(|| format!("line {}", at + 1))
    };
    let mut lines: Vec<Line> = whole.lines().enumerate().map(parse).collect::<Result<_>>()?;
    lines.extend(serde_json::from_str::<Line>(cut));
    let back = lines.windows(2).position(|pair| pair[0].at_ns > pair[1].at_ns);
    match back {
        Some(at) => bail!("the time of line {} is before that of the one before it", at + 2),
        None => Ok(lines),
    }
}

/// A cast by its sender's own count, and whether it is a sync cast.
type Name = (Identity, bool, u32);

/// The history that these files tell together.
pub(crate) fn history(files: Vec<Vec<Line>>) -> Result<History> {
    let mut lines: Vec<Line> = files.into_iter().flatten().collect();
    lines.sort_by_key(|line| line.at_ns);
    let refused = lines.iter().filter_map(|line| match line.what {
        Said::Refused { number, sync } => Some((line.process, sync, number)),
        _ => None,
    });
    let history = History { is_dynamic: true, is_told_by_members: true, ..History::default() };
    let mut teller = Teller {
        history,
        processes: HashMap::new(),
        places: HashMap::new(),
        casts: HashMap::new(),
        refused: refused.collect(),
    };
    lines.into_iter().try_for_each(|line| teller.tell(line))?;
    ensure!(!teller.history.events.is_empty(), "nobody said anything");
    Ok(teller.history)
}

struct Teller {
    history: History,
    processes: HashMap<Identity, Process>,
    /// Endpoints, in the order in which they were first heard of.
    places: HashMap<SocketAddr, u16>,
    casts: HashMap<Name, Message>,
    refused: HashSet<Name>,
}

impl Teller {
    fn tell(&mut self, Line { at_ns, process: identity, what }: Line) -> Result<()> {
        let process = self.process(at_ns, identity);
        let what = match what {
            Said::Casts { number, .. } if self.refused.contains(&(identity, false, number)) => return Ok(()),
            Said::CastsSync { number, .. } if self.refused.contains(&(identity, true, number)) => {
                return Ok(());
            }
            Said::Casts { number, order, safe, len } => {
                let promise = Promise { order: order.parse::<Order>()?, safe };
                let message = self.history.cast(at_ns, process, promise, len, (None, 0));
                return self.name((identity, false, number), message);
            }
            Said::CastsSync { number, len } => {
                let message = self.history.sync(at_ns, process, len);
                return self.name((identity, true, number), message);
            }
            Said::Sealed { number, view } => {
                let message =
                    self.casts.get(&(identity, false, number)).context("what is sealed was cast")?;
                self.history.seal(*message, ViewNumber(view), 0);
                return Ok(());
            }
            Said::Starts | Said::Refused { .. } => return Ok(()),
            Said::Killed => {
                self.history.crash(at_ns, process);
                return Ok(());
            }
            // Who left where too few were heard to agree on it, is as good as dead.
            Said::Left if self.history.who(process).is_excluded => {
                self.history.crash(at_ns, process);
                return Ok(());
            }
            Said::Installs { group, instance, number, members, came, gone, joining, readied } => {
                let id = ViewId {
                    group: GroupId(group),
                    instance: GroupInstance(instance),
                    number: ViewNumber(number),
                };
                view(id, identity, &members, [&came, &joining, &readied], &gone)?
            }
            Said::Delivers { from, number, sync, len } => self.delivery((from, sync, number), len),
            other => plain(other),
        };
        self.history.push(at_ns, process, what);
        Ok(())
    }

    fn process(&mut self, at_ns: u64, identity: Identity) -> Process {
        let places = self.places.len() as u16;
        let place = *self.places.entry(identity.at).or_insert(places);
        let history = &mut self.history;
        let start = || history.start_as(at_ns, Rank(place), member(identity));
        *self.processes.entry(identity).or_insert_with(start)
    }

    fn name(&mut self, name: Name, message: Message) -> Result<()> {
        ensure!(self.casts.insert(name, message).is_none(), "{name:?} was cast twice");
        Ok(())
    }

    fn delivery(&self, name: Name, len: usize) -> What {
        let known = self.casts.get(&name).filter(|message| self.history.cast_of(**message).len == len);
        let from = self.places.get(&name.0.at).map_or(Rank::READER, |place| Rank(*place));
        known.map_or(What::Alien { from, len }, |message| What::Deliver(*message))
    }
}

fn member(Identity { at, boot }: Identity) -> ViewMember {
    ViewMember { endpoint: Endpoint(at), boot: BootId(boot) }
}

/// The view, as long as it can be one at all.
fn view(
    id: ViewId,
    me: Identity,
    members: &[Identity],
    [came, joining, readied]: [&[u16]; 3],
    gone: &[Gone],
) -> Result<What> {
    let rank =
        members.iter().position(|other| *other == me).context("a process that installs a view is in it")?;
    let mut endpoints = HashSet::new();
    ensure!(
        members.iter().all(|member| endpoints.insert(member.at)),
        "an endpoint is in {} twice",
        id.number
    );
    let ranks = |ranks: &[u16]| ranks.iter().copied().map(Rank).collect();
    let reason = |gone: &Gone| if gone.left { Reason::Left } else { Reason::Suspected };
    let change = Change {
        came: ranks(came),
        gone: gone.iter().map(|gone| (member(gone.member), reason(gone))).collect(),
        readied: ranks(readied),
    };
    let members = members.iter().copied().map(member).collect();
    let view = View::changed(id, members, Rank(rank as u16), change).with_joining(ranks(joining));
    Ok(What::Install(Box::new(view)))
}

/// What is the same in a history.
fn plain(said: Said) -> What {
    match said {
        Said::Joins => What::Joining,
        Said::Renumbered(number) => What::Renumbered(ViewNumber(number)),
        Said::Changes => What::Changing,
        Said::Cuts => What::Cut,
        Said::Wedged => What::Wedged,
        Said::Resumed => What::Resumed,
        Said::Excluded(number) => What::Excluded(ViewNumber(number)),
        Said::Leaves => What::Leaves,
        Said::Left => What::Left,
        Said::Alien { from, len } => What::Alien { from: Rank(from), len },
        Said::Flushes(id) => What::Flush(id),
        Said::Flushed(id) => What::Flushed(id),
        Said::Conflicts(why) => What::Conflict(why),
        Said::State(digest) => What::State(digest),
        Said::Restored => What::Restored,
        Said::TransferFailed(why) => What::TransferFailed(why),
        other => unreachable!("{other:?} is not the same in a history"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::checker::{Property, judge};

    fn identity(port: u16, boot: u64) -> Identity {
        Identity { at: ([127, 0, 0, 1], port).into(), boot }
    }

    /// A file of lines, as its process writes it.
    #[derive(Default)]
    struct File(String);

    impl File {
        fn say(&mut self, at_ns: u64, process: Identity, what: Said) {
            let line = serde_json::to_string(&Line { at_ns, process, what }).unwrap();
            self.0 += &line;
            self.0.push('\n');
        }
    }

    fn installs(number: u32, members: &[Identity], came: &[u16], gone: &[Identity]) -> Said {
        let gone = gone.iter().map(|member| Gone { member: *member, left: false }).collect();
        let (members, came, joining, readied) = (members.to_vec(), came.to_vec(), Vec::new(), Vec::new());
        Said::Installs { group: 1, instance: 2, number, members, came, gone, joining, readied }
    }

    fn delivers(from: Identity, number: u32, len: usize) -> Said {
        Said::Delivers { from, number, sync: false, len }
    }

    fn casts(number: u32) -> Said {
        Said::Casts { number, order: "total".to_owned(), safe: false, len: 8 }
    }

    /// Three members; one is killed, comes back, and is handed what is cast then. Lines are said a little apart.
    fn files(last: Said) -> [String; 3] {
        let (a, b, c, again) = (identity(1, 7), identity(2, 7), identity(3, 7), identity(3, 8));
        let mut files = [(); 3].map(|()| File::default());
        for (at, (file, me)) in files.iter_mut().zip([a, b, c]).enumerate() {
            let at = at as u64;
            file.say(10 + at, me, Said::Joins);
            file.say(20 + at, me, installs(1, &[a, b, c], &[0, 1, 2], &[]));
        }
        files[0].say(30, a, casts(0));
        files[0].say(31, a, Said::Sealed { number: 0, view: 1 });
        files[0].say(32, a, casts(1));
        files[0].say(33, a, Said::Refused { number: 1, sync: false });
        files[0].say(40, c, Said::Killed);
        for (at, (file, me)) in files.iter_mut().zip([a, b]).enumerate() {
            let at = at as u64;
            file.say(50 + at, me, delivers(a, 0, 8));
            file.say(60 + at, me, installs(2, &[a, b], &[], &[c]));
            file.say(80 + at, me, installs(3, &[a, b, again], &[2], &[]));
        }
        files[2].say(70, again, Said::Joins);
        files[2].say(84, again, installs(3, &[a, b, again], &[2], &[]));
        files[0].say(90, a, casts(2));
        for (at, (file, me)) in files.iter_mut().zip([a, b]).enumerate() {
            file.say(91 + at as u64, me, delivers(a, 2, 8));
        }
        files[2].say(95, again, last);
        files.map(|file| file.0)
    }

    fn judged(files: &[String; 3]) -> Vec<Property> {
        let lines = files.iter().map(|text| read(text).unwrap()).collect();
        let history = history(lines).unwrap();
        judge(&history, true).into_iter().map(|violation| violation.property).collect()
    }

    #[test]
    fn a_good_history_of_real_processes_is_good() {
        assert_eq!(judged(&files(delivers(identity(1, 7), 2, 8))), []);
    }

    #[test]
    fn the_same_checkers_find_what_is_wrong() {
        for (last, property) in [
            (delivers(identity(1, 7), 0, 8), Property::SendingView),
            (delivers(identity(1, 7), 2, 9), Property::Integrity),
            (delivers(identity(1, 7), 1, 8), Property::Integrity),
            (Said::Wedged, Property::FlushEnds),
            (Said::Excluded(4), Property::Precision),
            (Said::Renumbered(4), Property::Total),
        ] {
            let found = judged(&files(last.clone()));
            assert!(found.contains(&property), "{last:?}: {found:?}");
        }
    }

    #[test]
    fn who_leaves_and_is_told_that_it_is_out_need_not_come_back() {
        let (a, b, c) = (identity(1, 7), identity(2, 7), identity(3, 8));
        let mut files = files(Said::Leaves).map(File);
        files[2].say(96, c, Said::Excluded(4));
        for (at, me) in [a, b].into_iter().enumerate() {
            files[at].say(97, me, installs(4, &[a, b], &[], &[c]));
        }
        let told = files.map(|file| file.0);
        assert_eq!(judged(&told), [Property::Precision]);
        let mut files = told.map(File);
        files[2].say(98, c, Said::Left);
        assert_eq!(judged(&files.map(|file| file.0)), []);
    }

    #[test]
    fn a_line_that_was_cut_off_counts_for_nothing() {
        let mut files = files(delivers(identity(1, 7), 2, 8));
        files[1] += r#"{"at_ns":99,"process":{"at":"127.0.0.1:2","#;
        assert_eq!(judged(&files), []);
    }

    #[test]
    fn lines_that_are_none_are_refused() {
        let good = &files(Said::Resumed)[0];
        let (first, rest) = good.split_once('\n').unwrap();
        assert!(read(&format!("nonsense\n{rest}")).unwrap_err().to_string().contains("line 1"));
        assert!(read(&format!("{rest}{first}\n")).unwrap_err().to_string().contains("time of line"));
        let twice = [casts(0), casts(0)].map(|what| Line { at_ns: 1, process: identity(1, 1), what });
        assert!(history(vec![twice.to_vec()]).is_err());
        let absent = installs(1, &[identity(2, 1)], &[0], &[]);
        assert!(history(vec![vec![Line { at_ns: 1, process: identity(1, 1), what: absent }]]).is_err());
    }
}
