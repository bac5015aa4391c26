//! `sistrum`: the command line. One file per command; every command's bad input is one line and exit status 2.

mod capture;
mod causality;
mod demo;
mod digest;
mod feed;
mod figures;
mod group;
mod nodes;
mod refusal;
mod signals;
mod stat;
mod top;

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::refusal::Refusal;

/// Process groups at the speed of a datagram: reliable streams, in fifo, causal or total order.
#[derive(Debug, Parser)]
#[command(name = "sistrum", version, max_term_width = 110)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publishes a real market-data capture to several processes over IP multicast and proves that all of it arrived.
    Demo(demo::Options),
    /// Shows what goes wrong without causal order, and not with it; and the channel that it cannot see.
    Causality(causality::Options),
    /// Publishes or subscribes by hand, between terminals or hosts.
    #[command(subcommand)]
    Feed(feed::Command),
    /// Joins a group whose members come and go, by hand, between terminals.
    #[command(subcommand)]
    Group(group::Command),
    /// Prints what the nodes of this user count: latencies, losses by cause, who holds whom back. No node notices.
    Stat(stat::Options),
    /// Shows the nodes of this user at work: members, views, rates, latencies, losses, who holds whom back.
    Top(top::Options),
    /// One process of a running demo; started by `sistrum demo`, spoken to through its standard input.
    #[command(hide = true)]
    DemoMember {
        /// The member's name, for whoever looks at the list of processes.
        name: String,
    },
    /// The same of `sistrum demo --failover`.
    #[command(hide = true)]
    DemoFailoverMember {
        /// Likewise.
        name: String,
    },
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) if error.use_stderr() => return Refusal::from(error).exit(),
        Err(help) => {
            // Help that nobody reads (a closed pipe) is not a failure.
            let _ = help.print();
            return ExitCode::SUCCESS;
        }
    };
    match arguments.command {
        Command::Demo(options) => match demo::run(&options) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(refusal) => refusal.exit(),
        },
        Command::Causality(options) => causality::run(&options),
        Command::Feed(command) => feed::run(&command).unwrap_or_else(|refusal| refusal.exit()),
        Command::Group(command) => group::run(&command).unwrap_or_else(|refusal| refusal.exit()),
        Command::Stat(options) => stat::run(&options).unwrap_or_else(|refusal| refusal.exit()),
        Command::Top(options) => top::run(&options).unwrap_or_else(|refusal| refusal.exit()),
        Command::DemoMember { name: _ } => demo::member(),
        Command::DemoFailoverMember { name: _ } => demo::failover_member(),
    }
}

/// Prints to standard output. That nobody reads it (a closed pipe) does not change how it went.
fn print(text: &str) {
    print_bytes(text.as_bytes());
}

/// The same of bytes that may be no text.
fn print_bytes(line: &[u8]) {
    let _ = std::io::stdout().write_all(&[line, b"\n"].concat());
}
