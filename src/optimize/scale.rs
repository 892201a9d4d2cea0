//! Pictures made smaller by averaging: each new pixel is the mean of the area that it covers. One row of sums is all the
//! memory that it needs beside both pictures.

use super::Size;

/// Scales interleaved samples of 8 bits, `channels` to a pixel, down to `to`. With `alpha` the last channel is how opaque
/// a pixel is, and what can't be seen does not colour what can.
pub(super) fn down(samples: &[u8], from: Size, to: Size, channels: usize, alpha: bool) -> Vec<u8> {
    let across = spans(from.width, to.width);
    let mut scaled = Vec::with_capacity(to.pixels() as usize * channels);
    let row_bytes = from.width as usize * channels;
    let mut sums = vec![0.0f32; to.width as usize * channels];
    for (first, weights) in spans(from.height, to.height) {
        sums.fill(0.0);
        for (row, high) in samples.chunks_exact(row_bytes).skip(first).zip(&weights) {
            for ((left, weights), sum) in across.iter().zip(sums.chunks_exact_mut(channels)) {
                for (pixel, wide) in row.chunks_exact(channels).skip(*left).zip(weights) {
                    add(sum, pixel, high * wide, alpha);
                }
            }
        }
        sums.chunks_exact(channels).for_each(|sum| push(&mut scaled, sum, alpha));
    }
    scaled
}

fn add(sum: &mut [f32], pixel: &[u8], weight: f32, alpha: bool) {
    let opaque = if alpha { f32::from(pixel[pixel.len() - 1]) / 255.0 } else { 1.0 };
    let last = pixel.len() - 1;
    for (at, (sum, sample)) in sum.iter_mut().zip(pixel).enumerate() {
        let share = if alpha && at < last { weight * opaque } else { weight };
        *sum += f32::from(*sample) * share;
    }
}

fn push(scaled: &mut Vec<u8>, sum: &[f32], alpha: bool) {
    let last = sum.len() - 1;
    let opaque = if alpha { sum[last] / 255.0 } else { 1.0 };
    scaled.extend(sum.iter().enumerate().map(|(at, sum)| {
        let value = match alpha && at < last {
            true if opaque == 0.0 => 0.0,
            true => sum / opaque,
            false => *sum,
        };
        // Saturates.
        value.round() as u8
    }));
}

/// For each new place the first old one that it covers, and the share of each from there on; the shares sum up to 1.
fn spans(from: u32, to: u32) -> Vec<(usize, Vec<f32>)> {
    // In units of which an old place has `to` and a new one `from`, so that every border is a whole number.
    let (old, new) = (u64::from(to), u64::from(from));
    let span = |place: u64| {
        let (start, end) = (place * new, (place + 1) * new);
        let (first, beyond) = (start / old, end.div_ceil(old));
        let share = |at: u64| ((at + 1) * old).min(end) - (at * old).max(start);
        (first as usize, (first..beyond).map(|at| share(at) as f32 / new as f32).collect())
    };
    (0..u64::from(to)).map(span).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUR: Size = Size { width: 4, height: 2 };
    const TWO: Size = Size { width: 2, height: 1 };

    #[test]
    fn each_new_pixel_is_the_mean_of_what_it_covers() {
        assert_eq!(down(&[0, 100, 10, 10, 0, 100, 30, 30], FOUR, TWO, 1, false), [50, 20]);
    }

    #[test]
    fn a_plain_picture_stays_plain_at_any_size() {
        let from = Size { width: 37, height: 23 };
        for to in [Size { width: 36, height: 22 }, Size { width: 7, height: 5 }, Size { width: 1, height: 1 }] {
            let plain: Vec<u8> = [200, 100, 50].repeat(from.pixels() as usize);
            assert_eq!(down(&plain, from, to, 3, false), [200, 100, 50].repeat(to.pixels() as usize));
        }
    }

    #[test]
    fn what_is_transparent_does_not_colour_what_is_not() {
        let pixels = [[255, 0, 0, 0], [0, 0, 255, 255], [9, 9, 9, 0], [9, 9, 9, 0]].concat();
        let samples = pixels.repeat(2);
        assert_eq!(down(&samples, FOUR, TWO, 4, true), [0, 0, 255, 128, 0, 0, 0, 0]);
    }
}
