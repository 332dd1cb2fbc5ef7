import type {Pool} from 'pg'
import {erasures, listUnfinishedErasures} from '../../projections/erasures.ts'
import {readGenerations} from '../../projections/generations.ts'
import {users} from '../../projections/users.ts'
import {isScrubDue} from '../scrub.ts'
import {counted, type Finding, ok, warning} from './finding.ts'

const COUNTED = 1_000
/** A server does it after half of it. */
const SCRUB_BY_HOURS = 24

/** Work that was put off: erasures that are not done everywhere yet. */
export const checkBacklog = async (pool: Pool): Promise<Finding[]> => {
  const live = (await readGenerations(pool, [erasures, users])).filter(({state}) => state === 'live')
  if (live.length < 2) return []
  const unfinished = await listUnfinishedErasures(pool, {after: '', limit: COUNTED})
  if (unfinished.length > 0) {
    return [
      warning(
        `${counted(unfinished.length, 'erasure')} ${unfinished.length === 1 ? 'is' : 'are'} begun and not done.`,
        'A server that runs ends them within the hour; a start begins with them.',
      ),
    ]
  }
  return [
    (await isScrubDue(pool, SCRUB_BY_HOURS))
      ? warning(
          "The database's files may still hold the words of who was erased more than a day ago.",
          'See that a server runs. On a PostgreSQL of your own, "users erase" prints what a superuser must run.',
        )
      : ok('No erasure waits.'),
  ]
}
