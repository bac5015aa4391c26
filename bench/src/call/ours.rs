//! Ours: peers of one group with views; requests are cast in order of their sender, and replies go to the caller alone.

use super::{Calls as Counted, Setup};
use crate::Failure;
use crate::floor::{Trips, group_address};
use crate::pins::Pins;
use sistrum::{CallEvent, CallId, Calls, Config, Event, Group, Idle, JoinOptions, Node, Order, Refused};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Calls for a repetition.
pub(super) fn run(setup: &Setup, pins: &Pins) -> Result<Counted, Failure> {
    let (counted, ()) = pins.pair(|stop| call(setup, stop), |stop| answer(setup, stop))?;
    Ok(counted)
}

struct Member {
    node: Node,
    group: Group,
    calls: Calls,
    /// Members of its view.
    together: usize,
}

impl Member {
    fn join(setup: &Setup) -> Result<Self, Failure> {
        let config = Config { idle: Idle::Spin, medium: setup.medium, ..Config::loopback("bench") };
        let mut node = Node::open(config)?;
        let options = JoinOptions::peer()
            .expected_members(setup.members + 1)
            .suspect_after(PATIENCE)
            .multicast(SocketAddr::from(group_address(GROUP)));
        let group = node.join("bench call", options)?;
        Ok(Self { node, group, calls: Calls::new(group), together: 0 })
    }

    fn poll(&mut self) -> Result<(), Failure> {
        let Self { node, calls, together, .. } = self;
        node.poll(|cx, event| {
            if let Event::View(view) = &event {
                *together = view.members().len();
            }
            calls.handle(cx, &event);
            Ok(())
        })?;
        Ok(())
    }

    /// Answers all that has come; returns whether there was anything.
    fn answer(&mut self, reply: &[u8]) -> Result<bool, Failure> {
        let mut has_answered = false;
        while let Some(event) = self.calls.poll(&mut self.node)? {
            if let CallEvent::Request(request) = event {
                has_answered = true;
                self.calls.reply(request, reply);
            }
        }
        Ok(has_answered)
    }
}

fn call(setup: &Setup, stop: &AtomicBool) -> Result<Counted, Failure> {
    let mut member = Member::join(setup)?;
    let begin = Instant::now();
    while member.together <= setup.members || member.node.reached(&member.group).is_none() {
        member.poll()?;
        // Acquire: pairs with the Release of a thread that failed.
        if stop.load(Ordering::Acquire) || begin.elapsed() > PATIENCE {
            return Err("call: the members do not come together".into());
        }
    }
    let (mut trips, mut count, span) = (Trips::new(), 0_u64, setup.span);
    let request = vec![0x5a; setup.size];
    let mut open: VecDeque<(CallId, Instant)> = VecDeque::new();
    let (start, mut last) = (Instant::now(), Instant::now());
    loop {
        while open.len() < setup.window {
            let Member { node, calls, .. } = &mut member;
            match calls.call_others(node, Order::Fifo, setup.want, &request) {
                Ok(call) => open.push_back((call, Instant::now())),
                Err(Refused::Full { .. }) => break,
                Err(refused) => return Err(refused.into()),
            }
        }
        member.poll()?;
        let now = Instant::now();
        let is_counting = now - start >= span.warm_up;
        while let Some(event) = member.calls.poll(&mut member.node)? {
            let CallEvent::Done { call, is_enough, .. } = event else { continue };
            let at = open.iter().position(|(known, _)| *known == call);
            let (_, called_at) = at.and_then(|at| open.remove(at)).ok_or("call: over twice")?;
            if !is_enough {
                return Err("call: too few have replied".into());
            }
            last = now;
            if is_counting {
                count += 1;
                trips.record(now - called_at);
            }
        }
        if now - start >= span.warm_up + span.measure {
            break;
        }
        // Acquire: as above.
        if stop.load(Ordering::Acquire) || now - last > PATIENCE {
            return Err("call: calls do not end".into());
        }
    }
    let counted = start.elapsed().saturating_sub(span.warm_up);
    Ok(Counted { trips, rate: count as f64 / counted.as_secs_f64() })
}

fn answer(setup: &Setup, stop: &AtomicBool) -> Result<(), Failure> {
    let mut members = (0..setup.members).map(|_| Member::join(setup)).collect::<Result<Vec<_>, _>>()?;
    let reply = vec![0xa5; setup.size];
    // Acquire: pairs with the Release of the caller's end.
    while !stop.load(Ordering::Acquire) {
        for member in &mut members {
            member.poll()?;
            // What it has answered goes out before another has its turn.
            if member.answer(&reply)? {
                member.poll()?;
            }
        }
    }
    Ok(())
}

/// Without progress for so long, a bench gives up; nobody is suspected before.
const PATIENCE: Duration = Duration::from_secs(5);
/// Which of the bench's groups this is.
const GROUP: u8 = 141;
