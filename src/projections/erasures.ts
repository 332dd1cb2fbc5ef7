import type {Pool} from 'pg'
import type {UserId} from '../domain/user.ts'
import {readTable} from './readTable.ts'

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

/** Erasures whose last step, the destroyed key, is not done: cut off by a crash, or undone by a restored backup of keys. */
export const listUnfinishedErasures = async (pool: Pool): Promise<UserId[]> => {
  const {rows} = await pool.query<{userId: UserId}>(
    `SELECT user_id AS "userId" FROM ${erasures.view} LEFT JOIN keys.people ON person = user_id
     WHERE keys.people.erased_at IS NULL ORDER BY position LIMIT 1000`,
  )
  return rows.map(({userId}) => userId)
}
