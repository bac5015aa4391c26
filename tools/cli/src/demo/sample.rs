//! The real sample that the demo publishes when no file is given; where it comes from stands in `data/README.md`.

use crate::capture::{Feed, FeedError};

/// The sample: 20 000 messages of a spot market, then the opening burst of an ITCH feed.
pub(super) fn feed() -> Result<Feed, FeedError> {
    let mut feed = Feed::parse(MARKET.to_vec())?;
    feed.append(&Feed::parse(ITCH.to_vec())?, ITCH_AFTER_NS);
    Ok(feed)
}

/// The two captures have no common time; the burst comes this long after the last market message.
const ITCH_AFTER_NS: u64 = 1_000_000;

const MARKET: &[u8] = include_bytes!("../../data/spot-btcusdt-20000.gz");
const ITCH: &[u8] = include_bytes!("../../data/nasdaq-open-20191230.itch50");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_what_its_provenance_says() {
        let feed = feed().expect("embedded");
        assert_eq!(feed.len(), 20_000 + 1_000);
        assert_eq!(feed.get(7).map(|snapshot| snapshot.bytes.len()), Some(64_066));
        assert_eq!(
            feed.iter().map(|message| message.bytes.len()).sum::<usize>(),
            5_260_681 - 20_000 + 35_570 - 2_000
        );
    }

    #[test]
    fn the_burst_keeps_its_own_pace_after_the_market() {
        let feed = feed().expect("embedded");
        let at = |index: usize| feed.get(index).expect("in the sample").at_ns;
        assert_eq!(at(20_000) - at(19_999), ITCH_AFTER_NS);
        assert!((2_000_000..3_000_000).contains(&(at(20_999) - at(20_000))));
    }
}
