//! The running kernel's build configuration, where it can be read.

use crate::common::*;

/// A kernel configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// The file it was read from.
    pub source: String,
    /// Options that are set, without `CONFIG_`: `y`, `m` or a value. Not part of reports.
    #[serde(skip)]
    pub options: BTreeMap<String, String>,
}

impl Config {
    /// Reads `/proc/config.gz`, or the file a distribution installs beside the kernel.
    pub fn read() -> Option<Config> {
        let release = nix::sys::utsname::uname().ok()?;
        let release = release.release().to_string_lossy().into_owned();
        let plain = |path: String| Some((fs::read_to_string(&path).ok()?, path));
        let (text, source) = from_proc()
            .or_else(|| plain(format!("/boot/config-{release}")))
            .or_else(|| plain(format!("/usr/lib/modules/{release}/config")))
            .or_else(|| plain(format!("/lib/modules/{release}/build/.config")))?;
        Some(Config { source, options: parse(&text) })
    }

    /// Whether an option is built in or a module.
    pub fn is_set(&self, option: &str) -> bool {
        matches!(self.options.get(option).map(String::as_str), Some("y" | "m"))
    }
}

fn from_proc() -> Option<(String, String)> {
    let path = "/proc/config.gz";
    let file = File::open(path).ok()?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).ok()?;
    Some((text, path.to_owned()))
}

fn parse(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.strip_prefix("CONFIG_")?.split_once('='))
        .map(|(option, value)| (option.to_owned(), value.trim_matches('"').to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_are_off_do_not_appear() {
        let options = parse("# CONFIG_TIME_NS is not set\nCONFIG_UTS_NS=y\nCONFIG_LOCALVERSION=\"-x\"\n");
        assert_eq!(options.get("UTS_NS").map(String::as_str), Some("y"));
        assert_eq!(options.get("LOCALVERSION").map(String::as_str), Some("-x"));
        assert!(!options.contains_key("TIME_NS"));
    }
}
