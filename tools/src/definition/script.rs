//! A section that holds text for a shell or for people.

/// A section of a definition: all of its name in a stage, put together.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Section {
    /// What follows the section's name, of the last one.
    pub arguments: String,
    /// The text.
    pub body: String,
    /// For each piece of the body: the number of body lines before it, and the number of the
    /// file's line that begins it.
    pieces: Vec<(usize, usize)>,
}

impl Section {
    /// Whether there is nothing to be done with it.
    pub fn is_empty(&self) -> bool {
        self.body.is_empty()
    }

    /// Appends a piece whose heading has the number `line` in the file.
    pub fn append(&mut self, body: &str, line: usize) {
        if body.is_empty() {
            return;
        }
        self.pieces.push((self.body.matches('\n').count(), line));
        // Lines end as the shell wants them.
        self.body.push_str(&body.replace("\r\n", "\n"));
        if !body.ends_with('\n') {
            self.body.push('\n');
        }
    }

    /// Number of the line of the file where the section begins; 0 when there is none.
    pub fn line(&self) -> usize {
        self.pieces.first().map_or(0, |&(_, line)| line)
    }

    /// Number in the file of a line of the body (1 for its first).
    pub fn file_line(&self, line: usize) -> usize {
        self.pieces
            .iter()
            .rfind(|&&(before, _)| before < line)
            .map_or(0, |&(before, heading)| heading + line - before)
    }

    /// The arguments without their comment.
    fn words(&self) -> &str {
        self.arguments.split('#').next().unwrap_or_default()
    }

    /// The command that runs the section, which is called `name` and lies in the file `script`.
    ///
    /// # Errors
    /// When `-c` is given without a shell.
    pub fn shell_command(&self, name: &str, script: &str) -> Result<Vec<String>, String> {
        let mut command = vec!["/bin/sh".to_owned(), "-ex".to_owned()];
        let words: Vec<&str> = self.words().split_whitespace().collect();
        match words.iter().position(|&word| word == "-c") {
            Some(at) => {
                let shell = &words[at + 1..];
                if shell.is_empty() {
                    return Err(format!(
                        "bad {name} section '-c' parameter: missing arguments"
                    ));
                }
                command.extend(words[..=at].iter().map(|&word| word.to_owned()));
                command.push(format!("{} {script}", shell.join(" ")));
            }
            None => {
                command.extend(words.into_iter().map(str::to_owned));
                command.push(script.to_owned());
            }
        }
        Ok(command)
    }

    /// The text of the script as it is stored in an image.
    pub fn stored(&self) -> String {
        let mut first = "#!/bin/sh";
        let mut body = &*self.body;
        if body.trim_start().starts_with("#!") {
            let (line, rest) = body.split_once('\n').unwrap_or((body, ""));
            first = line.trim();
            body = rest;
        }
        let mut script = first.to_owned();
        if !self.arguments.is_empty() {
            script.push(' ');
            script.push_str(self.words());
        }
        script + "\n\n" + body + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(arguments: &str, body: &str) -> Section {
        let mut section = Section {
            arguments: arguments.to_owned(),
            ..Section::default()
        };
        section.append(body, 10);
        section
    }

    #[test]
    fn commands() {
        for (arguments, expected) in [
            ("", "/bin/sh|-ex|/s"),
            ("-u # c", "/bin/sh|-ex|-u|/s"),
            ("-c /bin/bash -e", "/bin/sh|-ex|-c|/bin/bash -e /s"),
        ] {
            let found = section(arguments, "x\n").shell_command("post", "/s");
            assert_eq!(found.map(|words| words.join("|")).as_deref(), Ok(expected));
        }
        assert_eq!(
            section("-c #", "x").shell_command("pre", "/s"),
            Err("bad pre section '-c' parameter: missing arguments".to_owned())
        );
    }

    #[test]
    fn stored_scripts() {
        for (arguments, body, expected) in [
            ("", "a\n", "#!/bin/sh\n\na\n\n"),
            ("-e # c", "a\n", "#!/bin/sh -e \n\na\n\n"),
            ("", "  #!/bin/x \na\n", "#!/bin/x\n\na\n\n"),
            ("", "\n#!/bin/x\na\n", "\n\n#!/bin/x\na\n\n"),
        ] {
            assert_eq!(section(arguments, body).stored(), expected);
        }
    }

    #[test]
    fn lines_of_the_file() {
        let mut section = section("", "a\nb\n");
        section.append("c\n", 20);
        let lines: Vec<usize> = (1..=3).map(|line| section.file_line(line)).collect();
        assert_eq!(lines, [11, 12, 21]);
        assert_eq!(section.line(), 10);
        assert_eq!(Section::default().file_line(3), 0);
    }
}
