use clap::Parser as _;
use conda_release::cli::Cli;

use crate::{Block, pages};

/// The command lines of a block: without prompts, continued lines joined, documents that are written left out.
fn lines(block: &Block) -> Vec<String> {
    let mut lines = Vec::new();
    let mut source = block.text.lines();
    while let Some(line) = source.next() {
        let mut line = line.trim().trim_start_matches("$ ").to_owned();
        while let Some(begun) = line.strip_suffix('\\') {
            let next = source.next().expect("a line that goes on");
            line = format!("{}{}", begun, next.trim());
        }
        if let Some((_, end)) = line.split_once("<<'") {
            let end = end.trim_end_matches('\'').to_owned();
            source.by_ref().find(|line| *line == end).expect("its end");
            continue;
        }
        lines.push(line);
    }
    lines
}

/// What of a line is for the program, if anything is.
fn of_program(line: &str) -> Option<Vec<String>> {
    let line = line.trim_start_matches("! ");
    let line = line.split(" #").next().unwrap_or(line);
    let words: Vec<String> = shell(line);
    let given = match words
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        ["conda-release", ..] => 1,
        ["cargo", "xtask" | "conda-release", ..] => 2,
        _ => return None,
    };
    let given = words.into_iter().skip(given);
    Some(
        std::iter::once("conda-release".to_owned())
            .chain(given)
            .collect(),
    )
}

/// The words of a simple command line.
fn shell(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for character in line.chars() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '|' | ';' | '>') => break,
            (_, other) => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    words
}

#[test]
fn every_command_of_the_documentation_is_one_of_the_program() {
    let mut checked = 0;
    for page in pages() {
        for block in page.blocks() {
            let language = block.info.split_whitespace().next();
            if !matches!(language, Some("console" | "sh" | "bash")) {
                continue;
            }
            for line in lines(&block) {
                let Some(command) = of_program(&line) else {
                    continue;
                };
                checked += 1;
                let at = format!("{}:{}: `{line}`", page.path.display(), block.line);
                match Cli::try_parse_from(command) {
                    Ok(_) => {}
                    Err(error) if !error.use_stderr() => {}
                    Err(error) => panic!("{at}\n{error}"),
                }
            }
        }
    }
    assert!(checked > 20, "only {checked} commands were found");
}

#[test]
fn a_command_that_is_none_is_found() {
    let block = Block {
        line: 1,
        info: "console".to_owned(),
        text: "$ cat > a <<'END'\nconda-release nonsense\nEND\n$ ! conda-release verify \\\n  'a b' --offline # why\n"
            .to_owned(),
    };
    let lines = lines(&block);
    assert_eq!(lines.len(), 1);
    let command = of_program(&lines[0]).unwrap();
    assert_eq!(command, ["conda-release", "verify", "a b", "--offline"]);
    assert!(Cli::try_parse_from(["conda-release", "verify", "--no-such-option"]).is_err());
}
