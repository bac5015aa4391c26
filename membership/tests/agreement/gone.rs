//! Who is gone: it learns of it from anybody who knows, and comes again as another incarnation only.

use crate::quiet::{Quiet, introduction};
use sistrum_membership::agreement::{Agreement, AgreementTuning, Message, Op, Outcome, Roster};
use sistrum_ordering::{BootId, GroupInstance, Rank, ViewNumber};

fn ask(quiet: &mut Quiet, boot: u64) {
    let mut new = introduction(3);
    new.member.boot = BootId(boot);
    let request = Message::Request { number: ViewNumber(0), op: Op::Join(new) };
    quiet.tell(0, 3, request);
    quiet.run();
}

#[test]
fn a_late_request_lets_nobody_in_again() {
    let mut quiet = Quiet::new(3);
    ask(&mut quiet, 1);
    quiet.assert_all_in(2, 4);
    quiet.suspect(0, 3);
    quiet.run();
    quiet.assert_all_in(3, 3);
    // What it had asked comes once more.
    ask(&mut quiet, 1);
    quiet.assert_all_in(3, 3);
    ask(&mut quiet, 2);
    quiet.assert_all_in(4, 4);
}

/// Those who excluded it may all be gone themselves.
#[test]
fn a_stranger_of_a_later_view_is_believed() {
    let mut quiet = Quiet::new(2);
    quiet.tell(1, 5, Message::Excluded { number: ViewNumber(1) });
    assert_eq!(quiet.outcomes, []);
    quiet.tell(1, 5, Message::Excluded { number: ViewNumber(9) });
    assert_eq!(quiet.outcomes, [Outcome::Excluded { number: ViewNumber(9) }]);
}

/// Whoever does not come to a view holds up the next one: who has joined in it has to know that, too.
#[test]
fn who_was_welcomed_knows_who_has_not_come() {
    let roster =
        Roster { number: ViewNumber(4), members: (0..3).map(introduction).collect(), joining: Vec::new() };
    let tuning = AgreementTuning::default();
    let agreement = Agreement::new(GroupInstance(1), roster, Rank(2), tuning, 0);
    assert!(!agreement.has_laggards(), "all made it together");
    let mut agreement = agreement.welcomed(Vec::new());
    assert_eq!(agreement.laggards().collect::<Vec<_>>(), [Rank(0), Rank(1)]);
    agreement.heard_in_view(Rank(1));
    assert_eq!(agreement.laggards().collect::<Vec<_>>(), [Rank(0)]);
    agreement.heard_in_view(Rank(0));
    assert!(!agreement.has_laggards());
}
