//! Files of `--apply-cgroups`.

use std::path::Path;

use crate::error::reason;
use crate::request::limits::Resources;

/// Reads limits in TOML. Keys that nobody knows are ignored, as in Apptainer.
///
/// # Errors
/// One line: the file cannot be read, or is not what it should be.
pub fn read(path: &Path) -> Result<Resources, String> {
    let bytes = std::fs::read(path)
        .map_err(|error| format!("open {}: {}", path.display(), reason(&error)))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| format!("toml: {} is not UTF-8 text", path.display()))?;
    parse(&text).map_err(|error| format!("toml: {}: {error}", path.display()))
}

fn parse(text: &str) -> Result<Resources, String> {
    toml::from_str(text).map_err(|error| {
        let line = error
            .span()
            .and_then(|span| text.get(..span.start))
            .map(|before| before.matches('\n').count() + 1);
        match line {
            Some(line) => format!("line {line}: {}", error.message()),
            None => error.message().to_owned(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything() {
        let found = parse(
            "[cpu]\nshares = 5\nquota = 50000\nperiod = 100000\ncpus = '0-1'\nmems = '0'\n\
             [memory]\nlimit = 1\nreservation = 2\nswap = -1\ndisableOOMKiller = true\n\
             [pids]\nlimit = 9\n[blockIO]\nweight = 10\n\
             [[blockIO.weightDevice]]\nmajor = 8\nminor = 0\nweight = 20\n\
             [[blockIO.throttleReadBpsDevice]]\nmajor = 8\nminor = 0\nrate = 30\n\
             [[hugepageLimits]]\npageSize = '2MB'\nlimit = 4\n\
             [[devices]]\nallow = false\naccess = 'rwm'\n\
             [unified]\n'memory.high' = '7'\n[other]\nx = 1\n",
        )
        .expect("right");
        assert_eq!(found.cpu.shares, Some(5));
        assert_eq!(found.cpu.quota, Some(50000));
        assert_eq!(found.cpu.cpus, "0-1");
        assert_eq!(found.memory.swap, Some(-1));
        assert!(found.memory.disable_oom_killer);
        assert_eq!(found.pids.limit, 9);
        assert_eq!(found.block_io.weight_devices[0].weight, Some(20));
        assert_eq!(found.block_io.read_bps[0].rate, 30);
        assert_eq!(found.huge_pages[0].page_size, "2MB");
        assert_eq!(found.unified["memory.high"], "7");
        assert_eq!(found.devices[0].access, "rwm");
        assert_eq!(parse("").expect("nothing"), Resources::default());
    }

    #[test]
    fn mistakes_are_named() {
        let error = parse("[cpu]\nshares = 'many'\n").unwrap_err();
        assert!(error.starts_with("line 2: "), "{error}");
        let error = parse("root:x:0:0\n").unwrap_err();
        assert!(error.starts_with("line 1: "), "{error}");
        let missing = read(Path::new("/nonexistent/x.toml")).unwrap_err();
        assert_eq!(
            missing,
            "open /nonexistent/x.toml: no such file or directory"
        );
    }
}
