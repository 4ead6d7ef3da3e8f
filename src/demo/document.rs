//! A PDF document of several pages that never existed before: Italian text, and on every page a
//! grey plate of random octets, which no compressor can shorten.

use pdf_writer::{Content, Finish, Name, Pdf, Rect, Ref, Str};
use trust::random::RandomSource;

use super::words;

/// Points of an A4 page.
const PAGE: (f32, f32) = (595.0, 842.0);
const FONT: Name<'static> = Name(b"F1");
const PLATE: Name<'static> = Name(b"P1");
/// Pixels along each side of a plate; one octet each.
const PLATE_PIXELS: u8 = 240;
/// Objects of one page: the page, its text, its plate.
const OBJECTS_PER_PAGE: i32 = 3;

/// Writes a document of `pages` pages under `title`.
pub(super) fn write(random: &dyn RandomSource, title: &str, pages: u8) -> Vec<u8> {
    let [catalog, tree, font] = [1, 2, 3].map(Ref::new);
    let page_refs: Vec<Ref> =
        (0..i32::from(pages)).map(|page| Ref::new(4 + OBJECTS_PER_PAGE * page)).collect();
    let mut pdf = Pdf::new();
    pdf.catalog(catalog).pages(tree);
    pdf.pages(tree).kids(page_refs.iter().copied()).count(pages.into());
    // WinAnsiEncoding agrees with Latin-1 on every accented letter of Italian.
    pdf.type1_font(font)
        .base_font(Name(b"Times-Roman"))
        .encoding_predefined(Name(b"WinAnsiEncoding"));

    for (index, page_ref) in page_refs.into_iter().enumerate() {
        let (text, plate) = (Ref::new(page_ref.get() + 1), Ref::new(page_ref.get() + 2));
        let mut page = pdf.page(page_ref);
        page.parent(tree).media_box(Rect::new(0.0, 0.0, PAGE.0, PAGE.1)).contents(text);
        let mut resources = page.resources();
        resources.fonts().pair(FONT, font);
        resources.x_objects().pair(PLATE, plate);
        resources.finish();
        page.finish();
        let heading = format!("{title} - pagina {} di {pages}", index + 1);
        pdf.stream(text, &page_content(random, &heading));
        write_plate(&mut pdf, plate, random);
    }
    pdf.finish()
}

fn page_content(random: &dyn RandomSource, heading: &str) -> Vec<u8> {
    let mut content = Content::new();
    content.begin_text().set_font(FONT, 16.0).next_line(60.0, 780.0);
    content.show(Str(&latin1(heading)));
    content.set_font(FONT, 11.0).next_line(0.0, -14.0);
    for _ in 0..3 {
        content.next_line(0.0, -14.0);
        for line in words::wrapped(&words::paragraph(random, 4), 88) {
            content.next_line(0.0, -14.0).show(Str(&latin1(&line)));
        }
    }
    content.end_text();
    content.save_state().transform([360.0, 0.0, 0.0, 360.0, 117.0, 60.0]).x_object(PLATE);
    content.restore_state();
    content.finish().to_vec()
}

fn write_plate(pdf: &mut Pdf, plate: Ref, random: &dyn RandomSource) {
    let side = usize::from(PLATE_PIXELS);
    let mut pixels = vec![0; side * side];
    random.fill(&mut pixels);
    let mut image = pdf.image_xobject(plate, &pixels);
    image.width(PLATE_PIXELS.into()).height(PLATE_PIXELS.into()).bits_per_component(8);
    image.color_space().device_gray();
}

/// Octets of `text` in Latin-1; what Latin-1 lacks becomes a question mark.
fn latin1(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect()
}

#[cfg(test)]
mod tests {
    use trust::random::SeededRandom;

    use super::*;

    fn count(octets: &[u8], wanted: &[u8]) -> usize {
        octets.windows(wanted.len()).filter(|window| *window == wanted).count()
    }

    #[test]
    fn the_document_has_its_pages_and_ends_as_a_pdf_does() {
        let file = write(&SeededRandom::new(1), "Perizia", 5);
        assert!(file.starts_with(b"%PDF-1."));
        assert!(file.trim_ascii_end().ends_with(b"%%EOF"));
        assert_eq!(count(&file, b"/Type /Page\n"), 5);
        assert!(file.len() > 5 * 240 * 240);
    }

    #[test]
    fn two_documents_are_never_the_same() {
        let file = |seed| write(&SeededRandom::new(seed), "Perizia", 1);
        assert_ne!(file(1), file(2));
    }

    #[test]
    fn accented_letters_are_written_in_latin_1() {
        assert_eq!(latin1("è più"), b"\xE8 pi\xF9");
        assert_eq!(latin1("€"), b"?");
    }
}
