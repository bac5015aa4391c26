//! NoDuplication: at most once at each process.

use crate::sim::history::History;

pub(super) fn check(history: &History) -> Option<String> {
    history.all().find_map(|process| {
        let mut seen = vec![false; history.casts.len()];
        let twice = history
            .deliveries(process)
            .find(|message| std::mem::replace(&mut seen[message.0 as usize], true));
        twice.map(|message| format!("{} delivered {} twice", history.name(process), history.named(message)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::tests::Told;
    use sistrum_ordering::Order;

    #[test]
    fn twice_is_found_and_a_message_of_ones_own_is_delivered_by_its_cast() {
        let mut told = Told::of(2);
        let message = told.cast(0, Order::Causal);
        told.deliver(1, message);
        assert_eq!(check(&told.0), None);
        let mut own = Told::of(2);
        let message = own.cast(0, Order::Causal);
        own.deliver(0, message);
        assert!(check(&own.0).is_some());
        told.deliver(1, message);
        assert!(check(&told.0).is_some());
    }
}
