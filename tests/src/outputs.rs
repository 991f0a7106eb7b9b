//! What a step of GitHub Actions set for later ones.

use std::collections::BTreeMap;

/// The outputs in the file that `GITHUB_OUTPUT` names, as the runner reads it: `name=value`, or `name<<WORD` and lines up to
/// that word.
pub fn step_outputs(file: &str) -> BTreeMap<String, String> {
    let mut outputs = BTreeMap::new();
    let mut lines = file.lines();
    while let Some(line) = lines.next() {
        let equals = line.find('=').unwrap_or(line.len());
        let (name, value) = match line.find("<<").filter(|at| *at < equals) {
            Some(at) => {
                let word = &line[at + 2..];
                let value: Vec<&str> = lines.by_ref().take_while(|line| *line != word).collect();
                (&line[..at], value.join("\n"))
            }
            None => {
                let (name, value) = line.split_once('=').expect("name=value or name<<WORD");
                (name, value.to_owned())
            }
        };
        outputs.insert(name.to_owned(), value);
    }
    outputs
}

#[cfg(test)]
mod tests {
    use super::step_outputs;

    #[test]
    fn outputs_have_one_line_or_many() {
        let outputs = step_outputs("a=1=<<2\nb<<END\nx\ny=z\nEND\nc=\n");
        let expected = [("a", "1=<<2"), ("b", "x\ny=z"), ("c", "")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(outputs, expected.into());
    }
}
