//! The strongest checker: builds a closely synchronous run that no process can tell from the history, or prints why not.
//!
//! The witness is one sequence of all events that agrees with each process's own sequence, in which a total message happens at
//! one instant for all, a message is delivered after it was cast, and after its causes. It exists unless these demands
//! go round in a circle; then the circle is the counter-example. Fifo messages promise nothing across senders: they may come
//! before what their sender knew, and are left out.
//!
//! A view, too, happens at one instant for all its members, and what was sent in it is delivered between it and the next. What the
//! lost were handed in their last view is left out, but for safe messages: a run in which they were not is as good.

use crate::sim::history::eras::Eras;
use crate::sim::history::{Cast, Event, History, Message, What};
use sistrum_ordering::{Order, ViewNumber};
use std::collections::BTreeMap;

pub(super) fn check(history: &History) -> Option<String> {
    let graph = Graph::of(history);
    let circle = graph.circle()?;
    let names: Vec<String> = circle.iter().map(|&node| graph.names(history, node)).collect();
    Some(format!("no order of events is possible: {}, and that before the first", names.join(", before ")))
}

/// Events, and which must come before which.
struct Graph {
    /// One event that each node stands for.
    events: Vec<u32>,
    after: Vec<Vec<u32>>,
    /// By process and message: the node of its delivery there.
    delivered: Vec<Vec<Option<u32>>>,
}

/// What was found on the way through a history.
struct Walk<'a> {
    eras: Eras<'a>,
    graph: Graph,
    /// By total message, and by any: where it has its place, and where it was cast.
    ordered: Vec<Option<u32>>,
    cast_at: Vec<Option<u32>>,
    /// By process: the last event.
    last: Vec<Option<u32>>,
    /// By life and number.
    views: BTreeMap<(u32, ViewNumber), u32>,
}

impl Walk<'_> {
    /// An event of `process` at `node`.
    fn place(&mut self, process: usize, node: u32) {
        let before = self.last[process].replace(node);
        self.graph.demand(before, node);
    }

    fn step(&mut self, at: usize) {
        let history = self.eras.history;
        match &history.events[at].what {
            What::Cast(message) | What::Deliver(message) => self.traffic(at, *message),
            What::Install(_) | What::Renumbered(_) if history.is_dynamic => self.enter(at),
            _ => {}
        }
    }

    fn enter(&mut self, at: usize) {
        let Event { process, .. } = self.eras.history.events[at];
        let key = (self.eras.history.who(process).life, self.eras.number(at));
        let graph = &mut self.graph;
        let node = *self.views.entry(key).or_insert_with(|| graph.add(at as u32));
        self.place(process.0 as usize, node);
    }

    fn traffic(&mut self, at: usize, message: Message) {
        let history = self.eras.history;
        let event = &history.events[at];
        let (process, index) = (event.process.0 as usize, message.0 as usize);
        let Cast { order, is_safe, .. } = history.cast_of(message);
        let is_cast = matches!(event.what, What::Cast(_));
        let is_bound = is_cast || is_safe || self.eras.is_bound(event.process, self.eras.number(at));
        if !order.spans_senders() || !is_bound {
            return;
        }
        let node = match self.ordered[index] {
            Some(node) if !is_cast => node,
            _ => self.graph.add(at as u32),
        };
        self.place(process, node);
        if is_cast {
            self.cast_at[index] = Some(node);
        } else {
            self.graph.demand(self.cast_at[index], node);
            self.ordered[index] = (order == Order::Total).then_some(node);
        }
        if history.delivery(event).is_some() {
            self.graph.delivered[process][index].get_or_insert(node);
        }
    }

    /// What was sent in a view is delivered behind it, and before the next.
    fn keep_in_views(&mut self) {
        let history = self.eras.history;
        for process in history.all() {
            let life = history.who(process).life;
            for index in 0..history.casts.len() {
                let message = Message(index as u32);
                let (Some(node), Some(number)) =
                    (self.graph.delivered[process.0 as usize][index], self.eras.sent_in(message))
                else {
                    continue;
                };
                // What is cast while the view before drains is in place as soon as it comes anywhere.
                if self.cast_at[index] != Some(node) {
                    let view = self.views.get(&(life, number)).copied();
                    self.graph.demand(view, node);
                }
                let next = self.eras.next(process, number).and_then(|next| self.views.get(&(life, next)));
                next.into_iter().for_each(|next| self.graph.demand(Some(node), *next));
            }
        }
    }
}

impl Graph {
    fn of(history: &History) -> Self {
        let (processes, casts) = (history.processes.len(), history.casts.len());
        let delivered = vec![vec![None; casts]; processes];
        let mut walk = Walk {
            eras: Eras::of(history),
            graph: Self { events: Vec::new(), after: Vec::new(), delivered },
            ordered: vec![None; casts],
            cast_at: vec![None; casts],
            last: vec![None; processes],
            views: BTreeMap::new(),
        };
        (0..history.events.len()).for_each(|at| walk.step(at));
        if history.is_dynamic {
            walk.keep_in_views();
        }
        walk.graph.demand_causes(&direct_causes(history));
        walk.graph
    }

    /// Causes come first wherever both came.
    fn demand_causes(&mut self, causes: &[Vec<Message>]) {
        for process in 0..self.delivered.len() {
            for (effect, causes) in causes.iter().enumerate() {
                let Some(node) = self.delivered[process][effect] else { continue };
                for cause in causes {
                    self.demand(self.delivered[process][cause.0 as usize], node);
                }
            }
        }
    }

    fn add(&mut self, event: u32) -> u32 {
        self.events.push(event);
        self.after.push(Vec::new());
        self.events.len() as u32 - 1
    }

    fn demand(&mut self, before: Option<u32>, after: u32) {
        if let Some(before) = before.filter(|before| *before != after) {
            self.after[before as usize].push(after);
        }
    }

    /// Nodes of which each must come before the next, and the last before the first.
    fn circle(&self) -> Option<Vec<u32>> {
        let mut waits = vec![0_u32; self.events.len()];
        self.after.iter().flatten().for_each(|&node| waits[node as usize] += 1);
        let mut free: Vec<u32> =
            (0..self.events.len() as u32).filter(|&node| waits[node as usize] == 0).collect();
        while let Some(node) = free.pop() {
            for &next in &self.after[node as usize] {
                waits[next as usize] -= 1;
                if waits[next as usize] == 0 {
                    free.push(next);
                }
            }
        }
        let stuck = (0..self.events.len() as u32).find(|&node| waits[node as usize] > 0)?;
        Some(self.walk_back(stuck, &waits))
    }

    /// Each stuck node waits for a stuck one: going back, one comes twice.
    fn walk_back(&self, from: u32, waits: &[u32]) -> Vec<u32> {
        let mut before = vec![None; self.events.len()];
        for node in (0..self.events.len() as u32).filter(|&node| waits[node as usize] > 0) {
            self.after[node as usize].iter().for_each(|&next| before[next as usize] = Some(node));
        }
        let (mut path, mut node) = (Vec::new(), from);
        loop {
            if let Some(at) = path.iter().position(|&known| known == node) {
                path.drain(..at);
                path.reverse();
                return path;
            }
            path.push(node);
            node = before[node as usize].expect("what is stuck waits for something stuck");
        }
    }

    fn names(&self, history: &History, node: u32) -> String {
        let Event { process, what, .. } = &history.events[self.events[node as usize] as usize];
        match what {
            What::Cast(message) => format!("the cast of {}", history.named(*message)),
            What::Deliver(message) if history.cast_of(*message).order == Order::Total => {
                format!("the one place of {}", history.named(*message))
            }
            What::Deliver(message) => format!("{} at {}", history.named(*message), history.name(*process)),
            What::Install(view) => format!("view {}", view.id().number),
            other => format!("{other:?}"),
        }
    }
}

/// For each causal or total message: what its sender delivered or cast of that kind since its last one.
fn direct_causes(history: &History) -> Vec<Vec<Message>> {
    let mut causes = vec![Vec::new(); history.casts.len()];
    let mut since = vec![Vec::new(); history.processes.len()];
    for event in &history.events {
        let since = &mut since[event.process.0 as usize];
        if let What::Cast(message) = event.what
            && history.cast_of(message).order.spans_senders()
        {
            // A sync cast is in nobody's stream: what comes after it does not wait for it.
            let is_sync = history.cast_of(message).is_sync;
            causes[message.0 as usize] = if is_sync { since.clone() } else { std::mem::take(since) };
        }
        if let Some(message) = history.delivery(event)
            && let Cast { order: Order::Causal | Order::Total, .. } = history.cast_of(message)
        {
            since.push(message);
        }
    }
    causes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::history::tests::Told;

    #[test]
    fn concurrent_messages_may_come_in_any_order() {
        let mut told = Told::of(3);
        let (a, b) = (told.cast(0, Order::Causal), told.cast(1, Order::Causal));
        told.deliver(2, b);
        told.deliver(2, a);
        told.deliver(1, a);
        told.deliver(0, b);
        assert_eq!(check(&told.0), None);
    }

    #[test]
    fn total_messages_in_two_orders_go_round() {
        let mut told = Told::of(2);
        let (a, b) = (told.cast(0, Order::Total), told.cast(1, Order::Total));
        for (at, message) in [(0, a), (0, b), (1, b), (1, a)] {
            told.deliver(at, message);
        }
        let circle = check(&told.0).unwrap();
        assert!(circle.contains("m0") && circle.contains("m1"), "{circle}");
    }

    #[test]
    fn an_effect_before_its_cause_goes_round() {
        let mut told = Told::of(3);
        let cause = told.cast(0, Order::Causal);
        told.deliver(1, cause);
        let effect = told.cast(1, Order::Causal);
        told.deliver(2, effect);
        assert_eq!(check(&told.0), None, "the cause may never come: that is another property");
        told.deliver(2, cause);
        assert!(check(&told.0).is_some());
    }

    #[test]
    fn total_order_must_agree_with_causality() {
        let mut told = Told::of(3);
        let total = told.cast(0, Order::Total);
        let causal = told.cast(0, Order::Causal);
        told.deliver(1, causal);
        let effect = told.cast(1, Order::Total);
        for at in 0..3 {
            told.deliver(at, total);
            told.deliver(at, effect);
        }
        assert_eq!(check(&told.0), None);
        let mut told = Told::of(2);
        let (a, b) = (told.cast(0, Order::Total), told.cast(1, Order::Total));
        told.deliver(0, a);
        let causal = told.cast(0, Order::Causal);
        told.deliver(1, causal);
        told.deliver(1, b);
        told.deliver(1, a);
        assert!(check(&told.0).is_some(), "the effect of a total message comes before it");
    }

    #[test]
    fn a_message_that_is_before_a_view_here_and_behind_it_there_goes_round() {
        for order in [Order::Causal, Order::Total] {
            let mut told = Told::dynamic(3);
            told.install(1, &[0, 1, 2], &[0, 1, 2]);
            let message = told.cast(0, order);
            told.deliver(1, message);
            if order == Order::Total {
                told.deliver(0, message);
            }
            told.install_at(2, 2, &[0, 1, 2], &[]);
            told.deliver(2, message);
            told.install_at(0, 2, &[0, 1, 2], &[]);
            told.install_at(1, 2, &[0, 1, 2], &[]);
            assert!(check(&told.0).unwrap().contains("view v2"), "{order:?}");
        }
    }

    #[test]
    fn what_the_lost_were_handed_last_is_left_out() {
        let mut told = Told::dynamic(3);
        told.install(1, &[0, 1, 2], &[0, 1, 2]);
        let (a, b) = (told.cast(0, Order::Total), told.cast(1, Order::Total));
        for (at, message) in [(0, a), (0, b), (1, a), (1, b), (2, b), (2, a)] {
            told.deliver(at, message);
        }
        assert!(check(&told.0).is_some());
        told.install(2, &[0, 1], &[]);
        assert_eq!(check(&told.0), None);
    }
}
