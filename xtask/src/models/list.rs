//! `formal/models.toml`: what is run, and what must come out.

use std::fs;

use serde::Deserialize;

use super::file;
use crate::run::Result;

/// All of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct List {
    pub(super) spin: Vec<Spin>,
    pub(super) verifpal: Vec<Verifpal>,
    pub(super) recorded: Vec<Recorded>,
}

/// A model of SPIN and its scenarios: each is a list of macros, `NAME=VALUE`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Spin {
    pub(super) file: String,
    pub(super) holds: Vec<Vec<String>>,
    pub(super) fails: Vec<Vec<String>>,
}

/// A model of Verifpal.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Verifpal {
    pub(super) file: String,
    /// Its result code.
    pub(super) result: String,
    pub(super) variants: Vec<Variant>,
}

/// The same with `from` replaced by `to`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Variant {
    pub(super) name: String,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) result: String,
}

/// A proof that is not run here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recorded {
    pub(super) file: String,
    pub(super) tool: String,
    /// Of the file for which the verdicts were recorded.
    pub(super) sha256: String,
}

impl List {
    pub(super) fn read() -> Result<Self> {
        let path = file("models.toml");
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(toml::from_str(&text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(list: &List) -> Vec<&str> {
        let spin = list.spin.iter().map(|model| model.file.as_str());
        let verifpal = list.verifpal.iter().map(|model| model.file.as_str());
        spin.chain(verifpal).chain(list.recorded.iter().map(|proof| proof.file.as_str())).collect()
    }

    #[test]
    fn every_model_is_in_the_list_and_has_a_scenario_that_must_fail() {
        let list = List::read().unwrap();
        let mut listed = files(&list);
        let mut there: Vec<String> = fs::read_dir(file(""))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !["README.md", "models.toml"].contains(&name.as_str()))
            .collect();
        listed.sort_unstable();
        there.sort_unstable();
        assert_eq!(listed, there);
        assert!(list.spin.iter().all(|model| !model.holds.is_empty() && !model.fails.is_empty()));
        assert!(list.verifpal.iter().all(|model| model.variants.iter().any(|variant| variant.result.contains('1'))));
    }

    #[test]
    fn the_readme_names_every_file_and_every_scenario() {
        let (list, readme) = (List::read().unwrap(), fs::read_to_string(file("README.md")).unwrap());
        let flags =
            list.spin.iter().flat_map(|model| model.holds.iter().chain(&model.fails).flatten()).map(String::as_str);
        let variants = list.verifpal.iter().flat_map(|model| &model.variants);
        let results = list.verifpal.iter().map(|model| &model.result);
        let words = variants.flat_map(|variant| [&variant.name, &variant.result]).chain(results).map(String::as_str);
        for word in files(&list).into_iter().chain(flags).chain(words) {
            assert!(readme.contains(word), "formal/README.md does not name {word}");
        }
    }
}
