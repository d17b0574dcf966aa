//! What colours of the palette look like, on light paper and on dark.

/// Red, green, blue.
pub(super) type Rgb = [u8; 3];

/// Colours that depend on what they are seen on.
pub(super) struct Theme {
    /// Of plain text.
    pub(super) ink: Rgb,
    /// Of what it stands on.
    pub(super) paper: Rgb,
    /// The first sixteen of the palette, which programs choose by name: each can be read on the paper, but the one that is like it.
    pub(super) named: [Rgb; 16],
}

/// For paper, and for light screens.
pub(super) const LIGHT: Theme = Theme {
    ink: [0x1f, 0x23, 0x28],
    paper: [0xff, 0xff, 0xff],
    named: [
        [0x24, 0x29, 0x2f],
        [0xc0, 0x1c, 0x28],
        [0x11, 0x63, 0x29],
        [0x8a, 0x5a, 0x00],
        [0x09, 0x50, 0xb8],
        [0x82, 0x50, 0xdf],
        [0x0b, 0x6e, 0x7a],
        [0x8c, 0x95, 0x9f],
        [0x57, 0x60, 0x6a],
        [0xd1, 0x24, 0x2f],
        [0x1a, 0x7f, 0x37],
        [0x9a, 0x67, 0x00],
        [0x21, 0x8b, 0xff],
        [0xa4, 0x75, 0xf9],
        [0x1b, 0x7c, 0x83],
        [0xd0, 0xd7, 0xde],
    ],
};

/// For dark screens.
pub(super) const DARK: Theme = Theme {
    ink: [0xd4, 0xd4, 0xd4],
    paper: [0x16, 0x18, 0x1d],
    named: [
        [0x3b, 0x40, 0x48],
        [0xf1, 0x6c, 0x75],
        [0x8c, 0xc2, 0x65],
        [0xd1, 0x9a, 0x66],
        [0x61, 0xaf, 0xef],
        [0xc6, 0x78, 0xdd],
        [0x56, 0xb6, 0xc2],
        [0xab, 0xb2, 0xbf],
        [0x7f, 0x84, 0x8e],
        [0xff, 0x7b, 0x86],
        [0xa5, 0xe0, 0x75],
        [0xf0, 0xc6, 0x74],
        [0x8c, 0xc8, 0xff],
        [0xde, 0x9b, 0xf5],
        [0x72, 0xd4, 0xe0],
        [0xff, 0xff, 0xff],
    ],
};

impl Theme {
    /// What a colour of the palette looks like here.
    pub(super) fn indexed(&self, index: u8) -> Rgb {
        match index {
            0..16 => self.named[usize::from(index)],
            _ => fixed(index),
        }
    }

    /// What plain text is painted with on a colour, so that it can be read there.
    pub(super) fn ink_on(&self, paper: Rgb) -> Rgb {
        if contrast(self.ink, paper) >= contrast(self.paper, paper) { self.ink } else { self.paper }
    }
}

/// How well one can be told from the other: WCAG 2, from 1 to 21.
fn contrast(a: Rgb, b: Rgb) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

fn luminance([r, g, b]: Rgb) -> f64 {
    let linear = |part: u8| (f64::from(part) / 255.0).powf(2.2);
    0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
}

/// The colours of the palette behind the first sixteen, as xterm has them: a cube of 6×6×6, and 24 greys.
pub(super) fn fixed(index: u8) -> Rgb {
    let level = |n: u8| if n == 0 { 0 } else { 55 + 40 * n };
    match index.saturating_sub(16) {
        n @ 0..216 => [level(n / 36), level(n / 6 % 6), level(n % 6)],
        n => [8 + 10 * (n - 216); 3],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cube_and_the_greys_are_xterms() {
        assert_eq!(
            [16, 21, 196, 231, 232, 255].map(fixed),
            [[0, 0, 0], [0, 0, 255], [255, 0, 0], [255, 255, 255], [8, 8, 8], [238, 238, 238],]
        );
    }

    #[test]
    fn colours_by_name_can_be_read_on_their_paper() {
        for (theme, alike) in [(LIGHT, [7, 15]), (DARK, [0, 0])] {
            for (index, named) in theme.named.iter().enumerate().filter(|(index, _)| !alike.contains(index)) {
                let contrast = contrast(*named, theme.paper);
                assert!(contrast > 3.0, "{index}: {contrast}");
            }
        }
    }

    #[test]
    fn plain_text_can_be_read_on_every_colour() {
        for theme in [LIGHT, DARK] {
            for paper in (0..=255).map(|index| theme.indexed(index)) {
                assert!(contrast(theme.ink_on(paper), paper) > 3.0, "{paper:?}");
            }
        }
    }
}
