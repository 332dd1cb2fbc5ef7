import {appendInOrder} from '../log/appendInOrder.ts'
import type {EventLog, LogRecord} from '../log/eventLog.ts'
import {leafOf, leafOrNone, type SealedRecord} from './leaf.ts'
import {growingRoot} from './merkleTree.ts'

/** The target holds other events than the source. `index`: of the first such event, counted from 0. */
export class NotACopy extends Error {
  override name = 'NotACopy'
  readonly index: number
  constructor(index: number, found: string) {
    super(found)
    this.index = index
  }
}

export type Copied = {events: number; appended: number; root: string}

/**
 * Brings the target to hold the source's events, in their order, with their ids and revisions. What it holds already is
 * compared, leaf by leaf, so a run that was cut off anywhere is taken up by the next, and needs no notes for that. In the
 * end what was appended is read back: the roots over both are the same, or it throws {@link NotACopy}.
 */
export const copyInto = async (
  target: EventLog,
  source: AsyncIterable<SealedRecord[]>,
  {
    begin,
    onPage,
  }: {
    /** Called before the first event is appended. */
    begin: () => Promise<void>
    onPage: (events: number) => void
  },
): Promise<Copied> => {
  const ofSource = growingRoot()
  const ofTarget = growingRoot()
  const held = eachOf(target.readAll())
  let last: bigint | null = null
  let isHeld = true
  let appended = 0
  for await (const page of source) {
    const fresh: SealedRecord[] = []
    for (const record of page) {
      const leaf = leafOf(record)
      ofSource.add(leaf)
      const there: LogRecord | undefined = isHeld ? (await held.next()).value : undefined
      if (!there) {
        isHeld = false
        fresh.push(record)
        continue
      }
      const index = ofTarget.size()
      if (!leafOrNone(there).equals(leaf))
        throw new NotACopy(index, `the other log holds event ${there.id} where event ${record.id} should be`)
      ofTarget.add(leaf)
      last = there.position
    }
    if (fresh.length > 0 && appended === 0) await begin()
    await appendInOrder(target, fresh)
    appended += fresh.length
    onPage(page.length)
  }
  for await (const page of target.readAll({after: last})) for (const record of page) ofTarget.add(leafOrNone(record))
  if (ofTarget.size() > ofSource.size())
    throw new NotACopy(ofSource.size(), `the other log holds ${ofTarget.size()} events, and not ${ofSource.size()}`)
  const root = ofSource.root()
  if (!ofTarget.root().equals(root)) throw new NotACopy(0, 'the other log gave back other events than were written')
  return {events: ofSource.size(), appended, root: root.toString('hex')}
}

const eachOf = async function* <T>(pages: AsyncIterable<T[]>): AsyncGenerator<T, undefined> {
  for await (const page of pages) yield* page
}
