//! `plot`: a report as SVG, one drawing for each bench and size: a dot at the median, a line from the least to the most.

use crate::Failure;
use crate::report::{Row, Unit, read_json};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use std::fs;
use std::path::Path;

/// Draws every group of rows of the report at `report` into the folder `out`.
pub(crate) fn run(report: &Path, out: &Path) -> Result<(), Failure> {
    let rows = read_json(report)?;
    fs::create_dir_all(out).map_err(|error| format!("{}: {error}", out.display()))?;
    let mut names: Vec<_> = rows.iter().map(drawing).collect();
    names.dedup();
    for (at, name) in names.iter().enumerate() {
        // Rows of one drawing need not lie next to each other.
        if names[..at].contains(name) {
            continue;
        }
        let rows: Vec<_> = rows.iter().filter(|row| drawing(row) == *name).collect();
        let path = out.join(format!("{name}.svg"));
        draw(&path, name, &rows).map_err(|error| format!("{}: {error}", path.display()))?;
        println!("{}: {} rows", path.display(), rows.len());
    }
    Ok(())
}

/// The drawing that a row belongs to.
fn drawing(row: &Row<'_>) -> String {
    format!("{}-{}", row.bench, row.size)
}

fn draw(path: &Path, name: &str, rows: &[&Row<'_>]) -> Result<(), Failure> {
    let height = 90 + ROW_HEIGHT * u32::try_from(rows.len())?;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let most = rows.iter().map(|row| row.max).fold(f64::MIN_POSITIVE, f64::max) * 1.05;
    let least = rows.iter().map(|row| row.min).fold(f64::INFINITY, f64::min).max(1e-3) * 0.8;
    // Times differ by powers of ten, and a rate is judged by its distance from nothing.
    match rows[0].unit {
        Unit::Nanoseconds => chart(&area, name, rows, (least..most).log_scale()),
        Unit::MessagesPerSecond | Unit::CallsPerSecond | Unit::Cores | Unit::Bytes => {
            chart(&area, name, rows, 0.0..most)
        }
    }?;
    area.present()?;
    Ok(())
}

fn chart<X>(
    area: &DrawingArea<SVGBackend<'_>, Shift>,
    name: &str,
    rows: &[&Row<'_>],
    values: X,
) -> Result<(), Failure>
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: ValueFormatter<f64>,
{
    let unit = rows[0].unit;
    let count = rows.len() as f64;
    let mut chart = ChartBuilder::on(area)
        .caption(name, ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(30)
        .build_cartesian_2d(values, count..0.0)?;
    let mut mesh = chart.configure_mesh();
    mesh.disable_y_axis()
        .disable_y_mesh()
        .x_labels(8)
        .x_label_formatter(&|value| unit.show(*value))
        .draw()?;
    for (at, row) in rows.iter().enumerate() {
        let (line, label) = (at as f64 + 0.7, at as f64 + 0.25);
        let colour = if row.variant.starts_with("floor") { FLOOR } else { OURS };
        let ends = vec![(row.min, line), (row.max, line)];
        chart.draw_series([PathElement::new(ends, colour.stroke_width(2))])?;
        chart.draw_series([Circle::new((row.median, line), 4, colour.filled())])?;
        // The labels begin at the left edge, above their rows.
        let text = format!("{}: {}", label_of(row), unit.show(row.median));
        let style = ("sans-serif", 12).into_font().color(&colour);
        let (left, top) =
            (chart.plotting_area().get_pixel_range().0.start, chart.backend_coord(&(row.median, label)).1);
        area.draw_text(&text, &style, (left + 4, top - 6))?;
    }
    Ok(())
}

fn label_of(row: &Row<'_>) -> String {
    let sockets = if row.sockets == 1 { String::new() } else { format!(", {} sockets", row.sockets) };
    let offload = if row.offload == "off" { ", offload off" } else { "" };
    format!("{}{sockets}{offload}", row.variant)
}

const WIDTH: u32 = 820;
const ROW_HEIGHT: u32 = 34;
const FLOOR: RGBColor = RGBColor(120, 120, 120);
const OURS: RGBColor = RGBColor(20, 90, 180);
