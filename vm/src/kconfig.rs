//! Kernel configurations, and the fragment that says what a guest's kernel needs.

use std::collections::BTreeMap;
use std::io::Read;

/// A line in the configuration that every user-mode Linux carries.
pub(crate) const UML_MARKER: &[u8] = b"\0CONFIG_UML=y\n\0";

/// A kernel configuration: what a `.config` says. Names are without their `CONFIG_`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    options: BTreeMap<String, String>,
}

impl Configuration {
    /// Reads a `.config` or a fragment. An option that "is not set" is kept as `n`; what is no option is passed over,
    /// as the kernel's own tools do.
    pub fn parse(text: &str) -> Configuration {
        let options = text
            .lines()
            .filter_map(parse_line)
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Configuration {
            options: options.collect(),
        }
    }

    /// Finds the copy inside an unpacked kernel: see [`Configuration::embedded_text`].
    pub fn embedded(image: &[u8]) -> Option<Configuration> {
        Some(Configuration::parse(&String::from_utf8_lossy(
            &Configuration::embedded_text(image)?,
        )))
    }

    /// The text of the copy inside an unpacked kernel: the gzip stream of CONFIG_IKCONFIG (kernel/configs.c), or the
    /// text that every user-mode Linux carries for its `--showconfig` (arch/um/kernel/config.c.in).
    pub fn embedded_text(image: &[u8]) -> Option<Vec<u8>> {
        if let Some(at) = memchr::memmem::find(image, b"IKCFG_ST\x1f\x8b") {
            let mut text = Vec::new();
            // Real ones are 0.1 to 0.3 MB; the limit is against a stream that is not one.
            let mut limited = flate2::read::GzDecoder::new(&image[at + 8..]).take(16 << 20);
            if limited.read_to_end(&mut text).is_ok() {
                return Some(text);
            }
        }
        // There it is one C string a line.
        let marker = memchr::memmem::find(image, UML_MARKER)? + 1;
        let is_line = |string: &&[u8]| string.ends_with(b"\n");
        let before: usize = image[..marker - 1]
            .rsplit(|&byte| byte == 0)
            .take_while(is_line)
            .map(|line| line.len() + 1)
            .sum();
        let after: usize = image[marker..]
            .split(|&byte| byte == 0)
            .take_while(is_line)
            .map(|line| line.len() + 1)
            .sum();
        Some(
            image[marker - before..marker + after]
                .iter()
                .copied()
                .filter(|&byte| byte != 0)
                .collect(),
        )
    }

    /// The value as written (`y`, `m`, `n`, a number, a quoted string), or `None` when the option is not mentioned,
    /// which for a whole `.config` means that it does not exist or cannot be chosen.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// Whether the option is `y`.
    pub fn is_built_in(&self, name: &str) -> bool {
        self.value(name) == Some("y")
    }

    /// Whether the option is `y` or `m`.
    pub fn is_enabled(&self, name: &str) -> bool {
        matches!(self.value(name), Some("y" | "m"))
    }

    /// All options mentioned, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.options
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

fn parse_line(line: &str) -> Option<(&str, &str)> {
    let line = line.trim();
    if let Some(name) = line
        .strip_prefix("# CONFIG_")
        .and_then(|rest| rest.strip_suffix(" is not set"))
    {
        return Some((name, "n"));
    }
    line.strip_prefix("CONFIG_")?.split_once('=')
}
