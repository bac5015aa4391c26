//! Waits for something to be so of a group, as it is seen from outside: for scripts.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use sistrum::{Config, Endpoint, JoinOptions, Node, Until, ViewMember, Watches};

use super::options::{Place, What};
use super::sight::Sight;
use crate::print;
use crate::refusal::Refusal;
use crate::signals::Signals;

/// A group that has not answered for so long is not there.
const UNSEEN: Duration = Duration::from_secs(2);

/// Waits; exits with 0 when it is so, and with 1 when the time is over, or it is stopped.
pub(super) fn run(name: &str, place: &Place, what: &What, within: Duration) -> Result<ExitCode, Refusal> {
    let mut node = Node::open(Config::loopback("wait")).map_err(Refusal::new)?;
    node.join(name, place.apply(JoinOptions::observer())).map_err(Refusal::new)?;
    let mut signals = Signals::listen()?;
    let (began, mut sight) = (Instant::now(), Sight::default());
    let mut wait = Wait { what: *what, watches: Watches::new(), has_begun: false };
    while signals.take().is_none() && began.elapsed() < within {
        let mut has_changed = !wait.has_begun && began.elapsed() >= UNSEEN;
        let heard = node.poll_for(Duration::from_millis(20), |_, event| {
            has_changed |= sight.note(&event);
            Ok(())
        });
        heard.map_err(Refusal::new)?;
        if let Some(so) = has_changed.then(|| wait.look(&sight)).flatten() {
            print(&format!("{name}: {so}"));
            return Ok(ExitCode::SUCCESS);
        }
    }
    print(&format!("{name}: not so within {} ms", within.as_millis()));
    Ok(ExitCode::FAILURE)
}

struct Wait {
    what: What,
    watches: Watches,
    has_begun: bool,
}

impl Wait {
    /// Whoever is to come is looked for where a group can go on; whoever is to be gone, everywhere.
    fn look(&mut self, sight: &Sight) -> Option<String> {
        match self.what {
            What { gone: Some(_), .. } | What { ended: true, .. } => self.see(&sight.members()),
            What { .. } => self.see(sight.able()),
        }
    }

    /// These are in the group; tells what has come about, if that was waited for.
    fn see(&mut self, members: &[ViewMember]) -> Option<String> {
        let fired = self.watches.see_members(members);
        let has_begun = std::mem::replace(&mut self.has_begun, true);
        if self.what.ended {
            return members.is_empty().then(|| "nobody answers".to_owned());
        }
        if has_begun {
            return (!fired.is_empty()).then(|| self.shown(members));
        }
        let at =
            |place: SocketAddr| members.iter().find(|member| member.endpoint == Endpoint(place)).copied();
        let until = match self.what {
            What { members: Some(count), .. } => Until::Members(count),
            What { r#in: Some(place), .. } => Until::In(Endpoint(place)),
            What { gone: Some(place), .. } => match at(place) {
                Some(member) => Until::Gone(member),
                None => return Some(self.shown(members)),
            },
            What { .. } => return None,
        };
        let (_, so) = self.watches.watch(until);
        so.map(|_| self.shown(members))
    }

    fn shown(&self, members: &[ViewMember]) -> String {
        match self.what {
            What { gone: Some(place), .. } => format!("{place} is gone"),
            What { r#in: Some(place), .. } => format!("{place} is in"),
            What { .. } => format!("{} members", members.len()),
        }
    }
}
