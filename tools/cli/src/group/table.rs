//! What lines of the form `KEY=VALUE` amount to: the last value of each key. Who joins late takes it over.

use std::collections::BTreeMap;
use std::error::Error;

use sistrum::State;

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Table(BTreeMap<String, String>);

impl Table {
    /// A line has come.
    pub(super) fn add(&mut self, line: &[u8]) {
        if let Some((key, value)) = String::from_utf8_lossy(line).split_once('=') {
            self.0.insert(key.to_owned(), value.to_owned());
        }
    }

    /// Its lines.
    pub(super) fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(key, value)| format!("{key}={value}"))
    }
}

impl State for Table {
    fn write(&self, out: &mut Vec<u8>) {
        self.lines().for_each(|line| out.extend_from_slice(format!("{line}\n").as_bytes()));
    }

    fn read(&mut self, bytes: &[u8]) -> Result<(), Box<dyn Error + Send + Sync>> {
        let mut table = Self::default();
        std::str::from_utf8(bytes)?.lines().for_each(|line| table.add(line.as_bytes()));
        *self = table;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_each_key_is_taken_over() {
        let (mut table, mut other) = (Table::default(), Table::default());
        ["b=1", "a=2", "no value", "b=3=4"].iter().for_each(|line| table.add(line.as_bytes()));
        let mut out = Vec::new();
        table.write(&mut out);
        other.read(&out).expect("its own");
        assert_eq!(other, table);
        assert_eq!(other.lines().collect::<Vec<_>>(), ["a=2", "b=3=4"]);
        assert!(other.read(&[0xff]).is_err() && other == table, "nothing has changed");
    }
}
