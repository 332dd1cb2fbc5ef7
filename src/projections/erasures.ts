import type {Pool} from 'pg'
import type {UserId} from '../domain/user.ts'
import {readTable} from './readTable.ts'
import {users} from './users.ts'

/** Who was erased. The key of everybody in here must be gone. */
export const erasures = readTable({
  name: 'erasures',
  version: 1,
  columns: {user_id: 'text', erased_at: 'timestamptz', position: 'bigint'},
  key: ['user_id'],
  handlers: {
    UserErased: ({data, metadata, position}, rows) =>
      rows.put({user_id: data.userId, erased_at: metadata.time, position}),
  },
})

/**
 * Whose erasure is not done: cut off by a crash; undone by a restored backup of keys; or unknown to a log that was
 * restored from before it, while the key is gone. By id, after `after`.
 */
export const listUnfinishedErasures = async (
  pool: Pool,
  {after, limit}: {after: string; limit: number},
): Promise<UserId[]> => {
  const {rows} = await pool.query<{userId: UserId}>(
    `SELECT user_id AS "userId" FROM ${erasures.view} LEFT JOIN keys.people ON person = user_id
     WHERE keys.people.erased_at IS NULL AND user_id > $1
     UNION SELECT user_id FROM ${users.view} JOIN keys.people ON person = user_id WHERE wrapped IS NULL AND user_id > $1
     ORDER BY 1 LIMIT $2`,
    [after, limit],
  )
  return rows.map(({userId}) => userId)
}
