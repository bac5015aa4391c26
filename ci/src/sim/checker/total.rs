//! Total: one order of a group's total casts, the same at all, without gaps: whoever delivered fewer delivered a prefix.

use crate::sim::history::{History, Message, Process};
use sistrum_ordering::Order;

pub(super) fn check(history: &History) -> Option<String> {
    let lives = history.processes.iter().map(|who| who.life).max()?;
    (0..=lives).find_map(|life| {
        let members = history.all().filter(|process| history.who(*process).life == life);
        let orders: Vec<_> = members.map(|process| (process, totals(history, process))).collect();
        let (longest, reference) = orders.iter().max_by_key(|(_, order)| order.len())?;
        orders.iter().find_map(|(process, order)| {
            let at = order.iter().zip(reference).position(|(one, other)| one != other)?;
            Some(format!(
                "the total casts number {at} are {} at {} and {} at {}",
                history.named(order[at]),
                history.name(*process),
                history.named(reference[at]),
                history.name(*longest)
            ))
        })
    })
}

fn totals(history: &History, process: Process) -> Vec<Message> {
    history.deliveries(process).filter(|message| history.cast_of(*message).order == Order::Total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::tests::Told;

    fn told(orders: [&[usize]; 3]) -> Told {
        let mut told = Told::of(3);
        let messages = [told.cast(0, Order::Total), told.cast(1, Order::Total), told.cast(2, Order::Total)];
        for (process, order) in orders.into_iter().enumerate() {
            order.iter().for_each(|&at| told.deliver(process as u16, messages[at]));
        }
        told
    }

    #[test]
    fn prefixes_of_one_order_are_good() {
        assert_eq!(check(&told([&[2, 0, 1], &[2, 0], &[]]).0), None);
    }

    #[test]
    fn a_swap_and_a_gap_are_found() {
        assert!(check(&told([&[0, 1], &[1, 0], &[]]).0).is_some());
        assert!(check(&told([&[0, 1, 2], &[0, 2], &[]]).0).is_some());
    }
}
