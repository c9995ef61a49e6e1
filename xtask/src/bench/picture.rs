// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plain bars as SVG.

use std::fmt::Write;

const WIDTH: f64 = 640.0;
const LABEL: f64 = 270.0;
const LINE: f64 = 24.0;

/// One bar a figure, the longest as long as there is room.
pub fn bars(title: &str, bars: &[(String, f64)]) -> String {
    let most = bars.iter().map(|bar| bar.1).fold(f64::MIN_POSITIVE, f64::max);
    let height = LINE * (bars.len() as f64 + 1.0) + 12.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"8\" y=\"18\" font-weight=\"bold\">{}</text>\n",
        escaped(title)
    );
    for (at, (label, value)) in bars.iter().enumerate() {
        let top = LINE * (at as f64 + 1.0) + 4.0;
        let length = (WIDTH - LABEL - 70.0) * value / most;
        let text = top + 15.0;
        let digits = if *value >= 100.0 { 0 } else { 2 };
        let _ = writeln!(
            svg,
            "<text x=\"8\" y=\"{text}\">{}</text><rect x=\"{LABEL}\" y=\"{top}\" width=\"{length:.1}\" height=\"18\" \
             fill=\"#4a7fb5\"/><text x=\"{:.1}\" y=\"{text}\">{value:.digits$}</text>",
            escaped(label),
            LABEL + length + 6.0
        );
    }
    svg + "</svg>\n"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_has_all_the_room() {
        let svg = bars("a < b", &[("x".to_string(), 2.0), ("y".to_string(), 1.0)]);
        assert!(
            svg.contains("a &lt; b") && svg.contains("width=\"300.0\"") && svg.contains("width=\"150.0\"")
        );
    }
}
