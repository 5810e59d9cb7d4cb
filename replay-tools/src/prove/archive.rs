//! Exporting the whole log as one file that can be checked anywhere.

use std::{io::Write, path::PathBuf, process::ExitCode};

use daybook_core::{
    store::Store,
    transparency::{LogError, checkpoint_at, checkpoint_up_to, read_tiles, scan},
};
use daybook_log::tree::{self, Place, TileBuilder, Tiles, WIDTH};
use daybook_verify::archive;

use crate::{
    ToolError,
    export::Output,
    ledger::{Ledger, LedgerOptions},
    progress::Progress,
    prove::checkpoint,
};

/// Events that are read at once.
const CHUNK: u64 = 1 << 16;

#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where to write the archive; a file is replaced when the archive is complete
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// The last event: the archive ends at the latest checkpoint that does not go beyond it, and the ledger is only read.
    /// Unless told, everything is signed and exported
    #[arg(long, value_name = "POSITION")]
    to: Option<u64>,
}

pub async fn run(options: &LedgerOptions, arguments: &Arguments) -> Result<ExitCode, ToolError> {
    let ledger = match arguments.to {
        Some(_) => Ledger::open_as_it_is(options).await?,
        None => {
            let opened = Ledger::open_to_sign(options).await;
            opened.map_err(|error| format!("{error}; or name by `--to` a position that is signed already"))?
        }
    };
    let exported = export(ledger.store(), options, arguments).await;
    ledger.close().await?;
    let events = exported?;
    // The archive itself may go to the standard output.
    eprintln!("{events} events are in {}", arguments.output.display());
    Ok(ExitCode::SUCCESS)
}

async fn export(store: &Store, options: &LedgerOptions, arguments: &Arguments) -> Result<u64, ToolError> {
    let size = match arguments.to {
        Some(to) => checkpoint_up_to(store.pool(), to).await?.ok_or(LogError::NoCheckpoint)?.size,
        None => checkpoint::up_to_date(store, options).await?.size,
    };
    let mut output = Output::create(Some(&arguments.output))?;
    write(store, size, output.writer()).await?;
    output.finish()?;
    Ok(size)
}

async fn write(store: &Store, size: u64, mut out: impl Write + Send) -> Result<(), ToolError> {
    let (mut events, mut tiles_of) = (store.connection().await?, store.connection().await?);
    sqlx::query("set statement_timeout = 0").execute(&mut events).await?;
    let (key, checkpoint) = checkpoint_at(&mut tiles_of, Some(size)).await?;
    let places: Vec<Place> = tree::partial_tiles(size).into_iter().map(|(place, _)| place).collect();
    let mut edge = read_tiles(&mut tiles_of, &places).await?;
    for (place, width) in tree::partial_tiles(size) {
        edge.0.get_mut(&place).ok_or(LogError::Tile(place))?.truncate(width as usize);
    }
    if TileBuilder::resume(size, &edge).map_err(LogError::Tile)?.root() != checkpoint.root {
        return Err("the tiles are not those of the signed tree; `daybook verify --full` tells more".into());
    }
    archive::write_header(&key, &checkpoint, &edge, &mut out)?;
    let mut progress = Progress::new("exporting", "events", size);
    let mut begun = 0;
    while begun < size {
        let end = size.min(begun + CHUNK);
        let above: Vec<Place> =
            (begun..end).step_by(WIDTH as usize).flat_map(|index| archive::tiles_before(size, index)).collect();
        let mut tiles = read_tiles(&mut tiles_of, &above).await?;
        tiles.0.extend(edge.0.clone());
        let mut writing =
            Writing { size, tiles: &tiles, out: &mut out, due: begun + 1, buffer: Vec::new(), outcome: Ok(()) };
        scan(&mut events, begun + 1, end, |event| writing.add(event)).await?;
        let Writing { due, outcome, .. } = writing;
        outcome?;
        if due <= end {
            return Err(LogError::Event(due).into());
        }
        progress.advance(end - begun);
        begun = end;
    }
    progress.finish();
    Ok(())
}

/// An archive while events are added to it.
struct Writing<'a, W> {
    size: u64,
    tiles: &'a Tiles,
    out: &'a mut W,
    due: u64,
    buffer: Vec<u8>,
    outcome: Result<(), ToolError>,
}

impl<W: Write> Writing<'_, W> {
    fn add(&mut self, event: &daybook_log::LogEvent<'_>) {
        if self.outcome.is_ok() {
            self.outcome = self.try_add(event);
        }
    }

    fn try_add(&mut self, event: &daybook_log::LogEvent<'_>) -> Result<(), ToolError> {
        let index = self.due - 1;
        if index.is_multiple_of(WIDTH) {
            for place in archive::tiles_before(self.size, index) {
                let hashes = self.tiles.0.get(&place).ok_or(LogError::Tile(place))?;
                archive::write_tile(place, hashes.clone(), self.out)?;
            }
        }
        let leaf = self.tiles.0.get(&(0, index / WIDTH)).and_then(|tile| tile.get((index % WIDTH) as usize));
        if event.position != self.due || !leaf.is_some_and(|leaf| event.entry_of(*leaf, &mut self.buffer)) {
            return Err(LogError::Event(self.due).into());
        }
        archive::write_event(event.clone(), self.out)?;
        self.due += 1;
        Ok(())
    }
}
