import type {Pool} from 'pg'
import type {UserId} from '../domain/user.ts'
import {isFaulty} from '../log/codec.ts'
import type {Tail} from '../log/tail.ts'
import type {Applied} from '../projections/applied.ts'
import {findUser, type UserRow, users} from '../projections/users.ts'
import {openStillShown, type Seen} from './stillShown.ts'

const REMEMBERED = 10_000

/** Who somebody is, as the table of people has it. */
export type People = {find(userId: UserId): Promise<UserRow | null>}

/** Almost every request asks who its person is, and people hardly change, so they are remembered until they do. */
export const openPeople = ({pool, tail, applied}: {pool: Pool; tail: Tail; applied: Applied}): People => {
  const remembered = new Map<UserId, {user: UserRow; seen: Seen}>()
  const stillShown = openStillShown({tail, applied}, users, (event) => {
    if (isFaulty(event)) remembered.clear()
    else remembered.delete((event.data as {userId: UserId}).userId)
  })

  return {
    find: async (userId) => {
      const one = remembered.get(userId)
      // Who changed since is not remembered any more.
      if (one && stillShown.mayGive(one.seen, true)) return one.user
      const seen = stillShown.now()
      const user = await findUser(pool, userId)
      // Only where the table held every change that the tail has brought by now, of whomever.
      if (user && seen && stillShown.isUnchanged(seen)) {
        remembered.delete(userId)
        remembered.set(userId, {user, seen})
        if (remembered.size > REMEMBERED) remembered.delete(remembered.keys().next().value!)
      }
      return user
    },
  }
}
