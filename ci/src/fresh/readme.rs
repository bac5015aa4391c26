//! The commands that the README promises, taken from the README.

use anyhow::{Result, ensure};

/// The commands must stand on the first screen.
const FIRST_SCREEN: usize = 60;

/// The lines of the first `sh` block of a Markdown text.
///
/// # Errors
/// When there is no such block on the first screen, or it has other than two commands, `cargo ci test` among them.
pub(super) fn commands(markdown: &str) -> Result<Vec<String>> {
    let fence = |line: &&str| matches!(line.trim(), "```sh" | "```bash" | "```console");
    let mut lines = markdown.lines().take(FIRST_SCREEN).skip_while(|line| !fence(line));
    ensure!(lines.next().is_some(), "README.md has no ```sh block in its first {FIRST_SCREEN} lines");
    let block = lines.take_while(|line| line.trim() != "```");
    let block = block.map(|line| line.trim().trim_start_matches("$ "));
    let commands: Vec<_> =
        block.filter(|line| !line.is_empty() && !line.starts_with('#')).map(bare).collect();
    ensure!(commands.len() == 2, "README.md promises two commands, and its first block has {commands:?}");
    ensure!(commands.iter().any(|line| line == "cargo ci test"), "README.md does not say `cargo ci test`");
    Ok(commands)
}

/// A command without the remark behind it.
fn bare(line: &str) -> String {
    line.split(" #").next().unwrap_or(line).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEMO: &str = "cargo run --release -- demo";

    #[test]
    fn the_first_sh_block_counts() {
        let text = format!(
            "# A\n```text\npicture\n```\n```sh\n$ {DEMO}   # the feed\n\n# all of it\ncargo ci test\n```\n```sh\nrm\n```\n"
        );
        assert_eq!(commands(&text).unwrap(), [DEMO, "cargo ci test"]);
    }

    #[test]
    fn a_readme_that_promises_less_or_more_is_refused() {
        for text in [
            "# A\n".to_owned(),
            "```sh\ncargo ci test\n```\n".to_owned(),
            format!("```sh\n{DEMO}\ncargo test\n```\n"),
            format!("```sh\n{DEMO}\ncargo ci test\nrm\n```\n"),
            format!("{}```sh\n{DEMO}\ncargo ci test\n```\n", "a\n".repeat(FIRST_SCREEN)),
        ] {
            assert!(commands(&text).is_err(), "{text}");
        }
    }
}
