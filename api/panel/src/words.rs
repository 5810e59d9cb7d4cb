//! The words of the pages, in the languages that there are: each language is a file of messages (Fluent).

use std::{borrow::Cow, sync::LazyLock};

use axum::http::{HeaderMap, header};
use chrono::Locale;
use fluent_bundle::{FluentArgs, FluentResource, FluentValue, concurrent::FluentBundle};
use fluent_langneg::{LanguageIdentifier, NegotiationStrategy, negotiate_languages, parse_accepted_languages};
use icu_decimal::{DecimalFormatter, options::DecimalFormatterOptions};

/// The languages: the first is for browsers that ask for none of them.
const LANGUAGES: [(&str, &str); 2] =
    [("en", include_str!("../locales/en.ftl")), ("de", include_str!("../locales/de.ftl"))];

/// A language, with its words and its way to write numbers and dates.
pub struct Language {
    pub tag: &'static str,
    messages: FluentBundle<FluentResource>,
    pub locale: Locale,
    pub numbers: DecimalFormatter,
}

impl std::fmt::Debug for Language {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.tag)
    }
}

pub static ALL: LazyLock<Vec<Language>> = LazyLock::new(|| LANGUAGES.map(|(tag, file)| Language::of(tag, file)).into());

impl Language {
    fn of(tag: &'static str, file: &str) -> Self {
        let resource = FluentResource::try_new(file.to_owned());
        let resource = resource.unwrap_or_else(|(_, errors)| panic!("{tag}.ftl cannot be read: {errors:?}"));
        let mut messages = FluentBundle::new_concurrent(vec![tag.parse().expect("a language")]);
        // The marks around what is put into a sentence are for languages that are written in two directions.
        messages.set_use_isolating(false);
        messages.add_resource(resource).unwrap_or_else(|errors| panic!("{tag}.ftl names a message twice: {errors:?}"));
        let mut language = Self {
            tag,
            messages,
            locale: Locale::POSIX,
            numbers: DecimalFormatter::try_new(
                tag.parse::<icu_locale_core::Locale>().expect("a language").into(),
                DecimalFormatterOptions::default(),
            )
            .expect("numbers of every language can be written"),
        };
        language.locale = language.say("locale").parse().expect("the locale of dates is one that there is");
        language
    }

    /// The message of this name. One that is missing shows its name, which a test does not let pass.
    pub fn say(&self, name: &str) -> String {
        self.say_with(name, &[])
    }

    pub fn say_with(&self, name: &str, arguments: &[(&'static str, &str)]) -> String {
        self.find(name, arguments).unwrap_or_else(|| name.to_owned())
    }

    /// A count, by whose number the words may differ.
    pub fn count(&self, name: &str, count: u64) -> String {
        let mut values = FluentArgs::new();
        values.set("count", FluentValue::from(count));
        self.format(name, Some(&values)).unwrap_or_else(|| name.to_owned())
    }

    pub fn find(&self, name: &str, arguments: &[(&'static str, &str)]) -> Option<String> {
        let mut values = FluentArgs::new();
        for (name, value) in arguments {
            values.set(*name, FluentValue::String(Cow::Borrowed(value)));
        }
        self.format(name, Some(&values))
    }

    fn format(&self, name: &str, values: Option<&FluentArgs<'_>>) -> Option<String> {
        let pattern = self.messages.get_message(name)?.value()?;
        let mut errors = Vec::new();
        Some(self.messages.format_pattern(pattern, values, &mut errors).into_owned())
    }

    /// What a member, a filter or a field of a form is called.
    pub fn label(&self, member: &str) -> String {
        self.find(&format!("field-{}", dashed(member)), &[]).unwrap_or_else(|| spoken(member))
    }

    /// A word of the ledger, such as a status.
    pub fn word(&self, word: &str) -> String {
        self.find(&format!("word-{}", dashed(word)), &[]).unwrap_or_else(|| spoken(word))
    }

    /// What an operation does, as its button says it.
    pub fn deed(&self, operation: &str) -> String {
        self.find(&format!("do-{}", dashed(operation)), &[]).unwrap_or_else(|| spoken(operation))
    }
}

fn dashed(name: &str) -> String {
    name.replace(['_', '.', ' '], "-")
}

/// A name as a person would write it.
pub fn spoken(name: &str) -> String {
    let mut spoken = name.replace(['_', '.', '-'], " ");
    if let Some(first) = spoken.get(..1) {
        let first = first.to_uppercase();
        spoken.replace_range(..1, &first);
    }
    spoken
}

/// The language with this tag, if it is one of ours.
pub fn named(tag: &str) -> Option<&'static Language> {
    ALL.iter().find(|language| language.tag == tag)
}

/// The language that a browser asks for.
pub fn accepted(headers: &HeaderMap) -> &'static Language {
    let asked = headers.get(header::ACCEPT_LANGUAGE).and_then(|asked| asked.to_str().ok()).unwrap_or_default();
    let asked = parse_accepted_languages(asked);
    let ours: Vec<LanguageIdentifier> = ALL.iter().map(|language| language.tag.parse().expect("a language")).collect();
    let found = negotiate_languages(&asked, &ours, Some(&ours[0]), NegotiationStrategy::Lookup);
    let found = found.first().map(ToString::to_string).unwrap_or_default();
    named(&found).unwrap_or(&ALL[0])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use fluent_bundle::FluentResource;

    use super::*;
    use crate::{
        declared::{Declared, Member, Need, Shape},
        map::message,
    };

    fn names(file: &str) -> BTreeSet<String> {
        let resource = FluentResource::try_new(file.to_owned()).expect("a file of messages");
        resource
            .entries()
            .filter_map(|entry| match entry {
                fluent_syntax::ast::Entry::Message(message) => Some(message.id.name.to_owned()),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn every_language_has_the_same_messages() {
        let first = names(LANGUAGES[0].1);
        for (tag, file) in &LANGUAGES[1..] {
            let these = names(file);
            let missing: Vec<_> = first.symmetric_difference(&these).collect();
            assert!(missing.is_empty(), "{tag} and {} differ in {missing:?}", LANGUAGES[0].0);
        }
    }

    #[test]
    fn the_first_language_that_a_browser_names_and_we_have_is_taken() {
        let asking = |text: &str| {
            let headers = HeaderMap::from_iter([(header::ACCEPT_LANGUAGE, text.parse().expect("a header"))]);
            accepted(&headers).tag
        };
        assert_eq!(asking("de-AT,de;q=0.9,en;q=0.5"), "de");
        assert_eq!(asking("fr,en;q=0.8"), "en");
        assert_eq!(asking("tlh"), "en");
        assert_eq!(asking("\u{21}\u{21}"), "en");
    }

    /// All names of members and all words that a value of this shape can show.
    fn shown(shape: &Shape, fields: &mut BTreeSet<String>, words: &mut BTreeSet<String>) {
        match shape {
            Shape::Object(members) => {
                for Member { name, shape, .. } in members {
                    fields.insert(name.clone());
                    shown(shape, fields, words);
                }
            }
            Shape::Word(all) => words.extend(all.iter().cloned()),
            Shape::Choice(choices) => {
                for (word, held) in choices {
                    words.insert(word.clone());
                    held.iter().for_each(|held| shown(held, fields, words));
                }
            }
            Shape::List(of) => shown(of, fields, words),
            _ => {}
        }
    }

    #[test]
    fn everything_that_the_api_declares_has_words_in_each_language() {
        let (mut fields, mut words, mut messages) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for operation in &Declared::of(&daybook_api::openapi()).0 {
            if !operation.path.starts_with("/v1/") || operation.need == Need::Nothing {
                continue;
            }
            if operation.method == "GET" {
                messages.insert(message(&operation.path["/v1".len()..]));
            } else {
                messages.insert(format!("do-{}", dashed(&operation.id)));
            }
            for member in &operation.query {
                fields.insert(member.name.clone());
                shown(&member.shape, &mut fields, &mut words);
            }
            operation.body.iter().for_each(|body| shown(body, &mut fields, &mut words));
            shown(&operation.answer, &mut fields, &mut words);
        }
        messages.extend(fields.iter().map(|field| format!("field-{}", dashed(field))));
        messages.extend(words.iter().map(|word| format!("word-{}", dashed(word))));
        for language in ALL.iter() {
            let missing: Vec<_> = messages.iter().filter(|name| language.find(name, &[]).is_none()).collect();
            assert!(missing.is_empty(), "{}.ftl lacks {missing:?}", language.tag);
        }
    }
}
