//! The user's name and subordinate id ranges, from the files that newuidmap(1) reads.

/// Name of `uid` in the text of /etc/passwd.
pub(super) fn name_of(uid: u32, passwd: &str) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// Largest range that the text of /etc/subuid or /etc/subgid gives to the user; 0 for none.
pub(super) fn largest_range(text: &str, name: &str, uid: u32) -> u64 {
    let uid = uid.to_string();
    let ranges = text.lines().filter_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let count = fields.nth(1)?.parse::<u64>().ok()?;
        (owner == name || owner == uid).then_some(count)
    });
    ranges.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_by_name_and_by_number() {
        let text = "# comment\nada:100000:65536\n1002:200000:10\nada:300000:9\nbad:x:y\n";
        assert_eq!(largest_range(text, "ada", 1001), 65536);
        assert_eq!(largest_range(text, "bob", 1002), 10);
        assert_eq!(largest_range(text, "eve", 1003), 0);
    }

    #[test]
    fn names() {
        assert_eq!(
            name_of(7, "a:x:6:6::/:\nb:x:7:7::/:\n").as_deref(),
            Some("b")
        );
        assert_eq!(name_of(8, "broken\n"), None);
    }
}
