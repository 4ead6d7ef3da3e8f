//! A PNG picture that never existed before: soft colours with noise over them.

use trust::random::RandomSource;

/// Why a picture could not be made.
pub(super) type PictureError = png::EncodingError;

/// Draws a picture of `width` by `height` pixels, 8-bit RGB.
pub(super) fn draw(
    random: &dyn RandomSource,
    width: u16,
    height: u16,
) -> Result<Vec<u8>, PictureError> {
    let pixels = pixels(random, usize::from(width), usize::from(height));
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width.into(), height.into());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&pixels)?;
    writer.finish()?;
    Ok(file)
}

/// Rows of red, green, blue: a gradient between two random colours, the low bits noise, so that
/// neither a compressor nor an earlier run can know the octets.
fn pixels(random: &dyn RandomSource, width: usize, height: usize) -> Vec<u8> {
    let mut ends = [0; 6];
    random.fill(&mut ends);
    let mut pixels = vec![0; width * height * 3];
    random.fill(&mut pixels);
    for (index, octet) in pixels.iter_mut().enumerate() {
        let (pixel, colour) = (index / 3, index % 3);
        let along = pixel % width + pixel / width;
        let whole = (width + height).max(1);
        let (from, to) = (usize::from(ends[colour]), usize::from(ends[colour + 3]));
        let level = (from * (whole - along) + to * along) / whole;
        *octet = u8::try_from(level).unwrap_or(u8::MAX) & 0xF8 | (*octet & 0x07);
    }
    pixels
}

#[cfg(test)]
mod tests {
    use trust::random::SeededRandom;

    use super::*;

    #[test]
    fn the_picture_decodes_to_its_size_and_differs_from_run_to_run() {
        let file = draw(&SeededRandom::new(1), 64, 48).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(&file)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let frame = reader.next_frame(&mut pixels).unwrap();
        assert_eq!((frame.width, frame.height), (64, 48));
        assert_ne!(file, draw(&SeededRandom::new(2), 64, 48).unwrap());
    }
}
