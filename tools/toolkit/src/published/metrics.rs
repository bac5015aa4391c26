//! Every counter that a node publishes: what it is called, what it is in, and what it says.

use sistrum_transport::engine::counters::{Metric, Unit};

macro_rules! metrics {
    ($($id:ident $name:literal $unit:ident $help:literal)*) => {
        $(pub(super) static $id: Metric = Metric { name: $name, unit: Unit::$unit, help: $help };)*
        /// All of them.
        static ALL: &[&Metric] = &[$(&$id),*];
    };
}

/// What a counter of this name says, in one line; `None` of one that this version does not have.
#[must_use]
pub fn help(name: &str) -> Option<&'static str> {
    ALL.iter().find(|metric| metric.name == name).map(|metric| metric.help)
}

metrics! {
    CYCLES "cycles" Plain "Duty cycles."
    EMPTY_CYCLES "empty_cycles" Plain "Duty cycles that found nothing to do."
    PAUSES "pauses" Plain "Duty cycles that followed a pause longer than 2 ms: the application did not poll, or did not run."
    BUSY_SENDS "busy_sends" Plain "Sends that found the socket's buffer full, and were tried again."
    CYCLE_TIME "cycle_time" Nanoseconds "From the beginning of a duty cycle that did something to that of the next, whatever the application does in between."
    RECEIVED_DATAGRAMS "received_datagrams" Plain "Datagrams taken from the network; one that is coalesced of many blocks counts once."
    RECEIVED_BLOCKS "received_blocks" Plain "Blocks received: of the medium, from the network; of a stream, those before the first that is missing."
    SENDS "sends" Plain "Send calls that carried something."
    SENT_BLOCKS "sent_blocks" Plain "Blocks sent: of the medium, all of them; of a stream, those that were sent at least once."
    SEND_ERRORS "send_errors" Plain "Sends that the network refused; their blocks are lost."
    UNUSABLE "unusable_datagrams" Plain "Datagrams that were empty, or longer than a block."
    OVERFLOW "overflow_datagrams" Plain "Buffers that the kernel dropped because this process was too slow, as of when the sockets were last asked: whenever blocks are missing."
    INJECTED "injected_losses" Plain "Blocks or whole buffers dropped on purpose."
    POOL_EXHAUSTED "pool_exhausted_blocks" Plain "Blocks dropped because the receive buffers had no place for them."
    RECEIVE_SWITCHES "receive_switches" Plain "How often the medium changed from one way to receive to another."
    POOL_SLABS "pool_used_slabs" Plain "Receive buffers in use, of those that take what is coalesced."
    POOL_BLOCKS "pool_used_blocks" Plain "Receive buffers in use, of those that take one block."
    MALFORMED "malformed_datagrams" Plain "Datagrams that are no blocks of ours."
    UNCLAIMED "unclaimed_blocks" Plain "Blocks of groups that this node is not in."
    MEMBERS "members" Plain "Members of the view; none without one."
    RANK "rank" Plain "My rank in the view."
    VIEW "view" Plain "Number of the view."
    COORDINATOR "coordinator_rank" Plain "Who leads the agreement on the next view."
    CHANGING "view_changing" Plain "1 while the view changes: casts are refused or held."
    WEDGED "wedged" Plain "1 while too few members are heard to go on."
    SUSPECTS "suspects" Plain "Members of the view that are suspected."
    VIEWS "views" Plain "Views that were installed, those among them in which no member changes."
    CHANGED_AGE "view_age" Nanoseconds "Since members last came or went."
    VIEW_PAUSE "view_change_pause" Nanoseconds "From the beginning of a change of view until the application was told of the next one."
    AGREEMENT_FRAMES "agreement_frames" Plain "Frames sent to agree on views, a multicast once."
    AGREEMENT_BYTES "agreement_sent" Bytes "Bytes sent to agree on views, a multicast once."
    DELIVERED "delivered_messages" Plain "Messages handed to the application."
    REPAIRED "repaired_blocks" Plain "Blocks that filled a gap: they came as repairs, or late."
    REPAIRS_SENT "repairs_sent_blocks" Plain "Blocks sent again on request."
    REPAIRS_LENT "repairs_lent_blocks" Plain "Blocks of others sent to those who asked for them at the end of a view."
    DUPLICATES "duplicate_blocks" Plain "Blocks that had come before."
    BEYOND "beyond_window_blocks" Plain "Blocks beyond the window: their sender does not keep to it."
    REFUSED_LOW "refused_low_blocks" Plain "Blocks refused because receive memory ran short; they are repaired later."
    MALFORMED_BLOCKS "malformed_blocks" Plain "Blocks that are no blocks of ours."
    WRONG_CHECKSUMS "wrong_checksums" Plain "Blocks whose checksum was wrong."
    MALFORMED_FRAMES "malformed_frames" Plain "Frames that could not be read in blocks that could."
    FOREIGN "foreign_blocks" Plain "Blocks of another group, life or view."
    STRANGERS "stranger_blocks" Plain "Blocks from who is no member, or claims another's rank."
    NAKS_SENT "naks_sent" Plain "Requests to repair that were sent."
    NAKS_RECEIVED "naks_received" Plain "Requests to repair that were heard."
    ACKS_SENT "acks_sent" Plain "Acknowledgements sent in blocks of their own."
    REDUCTIONS "reductions" Plain "How often less was allowed under way because losses repeated."
    REDUCTIONS_UNDONE "reductions_undone" Plain "How often that did not help, and was taken back."
    STABLE_TIME "stable_time" Nanoseconds "From the cycle that sealed a block until all members were known to hold it; one block at a time is followed."
    DELIVERED_TIME "delivered_time" Nanoseconds "From the cycle that sealed a block until all members were known to have delivered it; one block at a time is followed."
    LOST_NETWORK "lost_network_blocks" Plain "Blocks lost, suspected: by the network, or its sender. In this view."
    LOST_OVERFLOW "lost_overflow_blocks" Plain "Blocks lost, suspected: my socket's buffer was full. In this view."
    LOST_INJECTED "lost_injected_blocks" Plain "Blocks lost, suspected: on purpose. In this view."
    LOST_POOL "lost_pool_blocks" Plain "Blocks lost: my receive buffers had no room. In this view."
    UNEXPLAINED "unexplained_blocks" Plain "Blocks that are missing, and whose cause was not looked for yet."
    MISSING "missing_blocks" Plain "Blocks that are missing at present."
    SENT_AGAIN "sent_again_blocks" Plain "Blocks of my stream sent again because this member asked. In this view."
    NAKS "naks" Plain "Requests to repair my stream heard from this member. In this view."
    EVICTED_GAPS "evicted_gaps" Plain "Gaps of its stream that are not listed any more. In this view."
    PAIR_SENT "sent_alone_messages" Plain "Messages that I sent to this member alone. In this view."
    PAIR_SENT_BYTES "sent_alone" Bytes "Bytes of those messages. In this view."
    PAIR_SENT_AGAIN "sent_alone_again_blocks" Plain "Blocks of those messages that were sent again because this member asked. In this view."
    PAIR_HANDED "handed_alone_messages" Plain "Messages that this member sent to me alone, and that were handed over. In this view."
    PAIR_HANDED_BYTES "handed_alone" Bytes "Bytes of those messages. In this view."
    PAIR_REPAIRED "repaired_alone_blocks" Plain "Blocks of those messages that filled a gap: they came as repairs, or late. In this view."
    SUSPECTED "suspected" Plain "1 while this member is suspected."
    SILENCE "silence" Nanoseconds "Since this member was last heard."
    BEHIND "behind_blocks" Plain "Blocks of my stream that this member has not delivered."
    UNRECEIVED "unreceived_blocks" Plain "Blocks of my stream that were sent, and that this member has not said to hold."
    REFUSALS "refused_casts" Plain "Casts refused because this member held the window. In this view."
    SEALED "sealed_blocks" Plain "Blocks of my stream that were sealed."
    STABLE "stable_blocks" Plain "Blocks of my stream that all members hold."
    DELIVERED_BLOCKS "delivered_blocks" Plain "Blocks of the stream that were delivered: of my own, by all; of another's, here."
    UNDELIVERED "undelivered_blocks" Plain "Blocks of the stream that are held here and not delivered."
    WINDOW "window_blocks" Plain "Blocks of my stream that not all may have delivered."
    UNDER_WAY "under_way_limit" Bytes "The most bytes under way, as receive buffers count them."
    HELD_BY "held_by_rank" Plain "The member that has delivered least of my stream, while it is behind."
    HELD_AGE "held_age" Nanoseconds "How long that member has moved nothing."
    HELD_BLOCKS "held_blocks" Plain "Blocks of my stream that it has not delivered."
    PACED "paced_casts" Plain "Casts refused because my own pace held them back. In this view."
}
