import type {Tail, TailEvent} from '../log/tail.ts'
import type {Applied} from '../projections/applied.ts'
import type {ReadTable} from '../projections/readTable.ts'

/** Of which generation of the table something was read, and where the table stood then at least. */
export type Seen = {generation: number; at: bigint}

/**
 * What is remembered of a read table may be given only where the table itself could say nothing newer: it was read at or
 * past the position that this node knows the table to hold, or the tail has been at that position and brought nothing
 * since it was read that changes it. So an erasure, a rebuild and a rollback drop it, and while the database is not heard
 * nothing is given from memory. Who waits for a position of their own has waited before they ask.
 *
 * `onChange` is called with each event that changes the table.
 */
export const openStillShown = (
  {tail, applied}: {tail: Tail; applied: Applied},
  table: ReadTable,
  onChange: (event: TailEvent) => void,
) => {
  // What was before the tail began is not known, so it counts as a change.
  let changedAt: bigint | null = null
  const tailPosition = (): bigint => tail.position() ?? -1n
  tail.listen((event) => {
    if (event.type !== 'UserErased' && !table.handlers[event.type]) return
    changedAt = event.position
    onChange(event)
  })

  /** Whether the tail has brought nothing that changes the table, and that it did not hold when this was seen. */
  const isUnchanged = ({generation, at}: Seen): boolean => {
    changedAt ??= tailPosition()
    return changedAt <= at && applied.known(table)?.generation === generation
  }

  return {
    isUnchanged,

    /** To be noted before something is read; null: where the table stands is not known. */
    now: (): Seen | null => {
      changedAt ??= tailPosition()
      const known = applied.known(table)
      return known && {generation: known.generation, at: known.position}
    },

    /** Whether what was read then may be given now. `isSame`: whether nothing since concerns it; else nothing at all may. */
    mayGive: (seen: Seen, isSame = isUnchanged(seen)): boolean => {
      const known = applied.known(table)
      if (known === null || known.generation !== seen.generation) return false
      return seen.at >= known.position || (tailPosition() >= known.position && isSame)
    },
  }
}
