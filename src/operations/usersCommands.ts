import {randomUUID} from 'node:crypto'
import {Command} from 'commander'
import {eraseUser} from '../commands/eraseUser.ts'
import {isRefusal} from '../domain/event.ts'
import type {UserId} from '../domain/user.ts'
import {openUploads} from '../uploads/uploads.ts'
import {openErasure} from './erasures.ts'
import {type Report, reports, WrongUsage, withFeed} from './operator.ts'

export const usersCommands = (): Command => {
  const users = new Command('users').description('people')
  const erase = users
    .command('erase <id>')
    .description('destroy the key of a person: log and backups no longer yield their data')
    .addHelpText('after', '\nExample:\n  npm run -s community -- users erase email_k3v2mmq7y5d4c6b2a7zj3h5w2e')
  reports(erase, eraseOne)
  return users
}

const eraseOne = (id: string): Promise<Report> => {
  if (!/^(email|discord|reddit)_[a-z2-7]{26}$|^bot_[a-z0-9_-]{1,32}$/.test(id)) {
    throw new WrongUsage(`${id} is not the id of a person: an id is like email_k3v2mmq7y5d4c6b2a7zj3h5w2e`)
  }
  return withFeed(async (operator) => {
    const erasure = openErasure({...operator, uploads: await openUploads(operator.config)})
    const erased = await eraseUser(erasure, id as UserId, {actor: null, correlationId: randomUUID()})
    if (isRefusal(erased)) return {json: {ok: false, id}, text: `Nobody has the id ${id}.`, failed: true}
    return {json: {ok: true, id, position: erased.position.toString()}, text: `${id} is erased.`}
  })
}
