//! Italian sentences drawn at random, accents included: the text of the demo's message.

use trust::random::RandomSource;

const SUBJECTS: [&str; 8] = [
    "Il collegio dei revisori",
    "L'università",
    "La commissione tecnica",
    "Il responsabile dell'attività",
    "L'ufficio qualità",
    "La società di ingegneria",
    "Il comitato per la sicurezza",
    "L'autorità portuale",
];
const VERBS: [&str; 8] = [
    "trasmetterà",
    "verificherà",
    "approverà",
    "pubblicherà",
    "esaminerà",
    "ha già ricevuto",
    "non può rinviare",
    "completerà",
];
const OBJECTS: [&str; 8] = [
    "la perizia sulla stabilità dell'edificio",
    "l'elenco delle priorità per il prossimo semestre",
    "il verbale della seduta di lunedì",
    "la planimetria più recente",
    "le modalità di accesso agli atti",
    "il parere di conformità",
    "la relazione sull'umidità delle murature",
    "i calcoli perché siano ricontrollati",
];
const ENDINGS: [&str; 6] = [
    "entro venerdì",
    "poiché il termine è vicino",
    "affinché ciò resti agli atti",
    "così come già comunicato",
    "né prima né dopo la scadenza",
    "in piena libertà di giudizio",
];

/// One of `choices`.
pub(super) fn choose<'c>(random: &dyn RandomSource, choices: &[&'c str]) -> &'c str {
    let index = below(random, choices.len());
    choices.get(index).copied().unwrap_or_default()
}

/// A number from 0 to `bound` - 1; 0 when `bound` is 0. The bias of the remainder is of no
/// consequence here.
pub(super) fn below(random: &dyn RandomSource, bound: usize) -> usize {
    let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
    usize::try_from(random.next_u64() % bound).unwrap_or_default()
}

/// A sentence with at least one accented letter somewhere, most of the time several.
pub(super) fn sentence(random: &dyn RandomSource) -> String {
    format!(
        "{} {} {} {}.",
        choose(random, &SUBJECTS),
        choose(random, &VERBS),
        choose(random, &OBJECTS),
        choose(random, &ENDINGS),
    )
}

/// `count` sentences.
pub(super) fn paragraph(random: &dyn RandomSource, count: usize) -> String {
    (0..count).map(|_| sentence(random)).collect::<Vec<_>>().join(" ")
}

/// Breaks `text` into lines of at most `width` characters, between words.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let fits = |line: &String| {
            line.is_empty() || line.chars().count() + 1 + word.chars().count() <= width
        };
        match lines.last_mut() {
            Some(line) if fits(line) => {
                if !line.is_empty() {
                    line.push(' ');
                }
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use trust::random::SeededRandom;

    use super::*;

    #[test]
    fn sentences_of_two_seeds_differ_and_hold_accents() {
        let text = |seed| paragraph(&SeededRandom::new(seed), 20);
        assert_ne!(text(1), text(2));
        assert!(text(1).chars().any(|c| "àèéìòù".contains(c)));
    }

    #[test]
    fn wrapping_keeps_every_word_and_the_width() {
        let text = paragraph(&SeededRandom::new(3), 9);
        let lines = wrapped(&text, 60);
        assert!(lines.iter().all(|line| line.chars().count() <= 60));
        assert_eq!(lines.join(" "), text);
    }
}
