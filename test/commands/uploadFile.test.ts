import {existsSync} from 'node:fs'
import {mkdtemp, rm, writeFile} from 'node:fs/promises'
import {tmpdir} from 'node:os'
import {join} from 'node:path'
import {beforeAll, describe, expect, it} from 'vitest'
import {uploadFile} from '../../src/commands/uploadFile.ts'
import {uploadKey} from '../../src/domain/upload.ts'
import type {Actor} from '../../src/domain/user.ts'
import {LogUnavailable} from '../../src/log/eventLog.ts'
import {openDiskStore} from '../../src/uploads/diskStore.ts'
import {type Node, overEachLog} from '../support/place.ts'
import {bot, person} from '../support/specification.ts'

const ann = person('Ann')

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'upload-file-'))
  return () => rm(folder, {recursive: true})
})

describe('uploadFile', () => {
  overEachLog((here) => {
    const upload = async ({execute}: Pick<Node, 'execute'>, by: Actor) => {
      const path = join(folder, 'received')
      await writeFile(path, '%PDF')
      const key = uploadKey(crypto.randomUUID(), 'application/pdf', new Date().toISOString())
      const file = {path, mediaType: 'application/pdf', bytes: 4} as const
      const store = openDiskStore(folder)
      const result = uploadFile({execute, store}, {by, file, key}, {correlationId: 'request'})
      return {key, result, isStored: () => existsSync(join(folder, key))}
    }
    const uploadedBy = ({userId}: Actor, key: ReturnType<typeof uploadKey>) => ({
      type: 'FileUploaded' as const,
      data: {userId, key, mediaType: 'application/pdf' as const, bytes: 4},
    })

    it('stores the file and writes it down, for people and for bots', async () => {
      for (const by of [ann, bot('printer')]) {
        await here.place.given()
        const {key, result, isStored} = await upload(here.node, by)
        expect(await result).toEqual({position: await here.place.log.head()})
        expect(await here.place.happened()).toEqual([uploadedBy(by, key)])
        expect(isStored()).toBe(true)
        const [event] = await here.place.logged()
        expect(event).toMatchObject({metadata: {actor: by.userId, command: 'uploadFile', correlationId: 'request'}})
      }
    })

    it('removes the file where the log does not take the event', async () => {
      const node = await here.place.startNode({
        wrap: (log) => ({
          ...log,
          append: async () => {
            throw new LogUnavailable('cut')
          },
        }),
      })
      const {result, isStored} = await upload(node, ann)
      await expect(result).rejects.toThrow(LogUnavailable)
      expect(isStored()).toBe(false)
    })

    it('keeps no file of somebody who was erased meanwhile', async () => {
      const bob = person('Bob')
      const {userId} = bob
      const registered = {
        userId,
        provider: 'email' as const,
        identity: bob.identity!,
        email: 'bob@example.org',
        username: 'Bob',
        passwordHash: null,
        tokenHash: null,
        tokenExpiresAt: null,
      }
      await here.place.given({type: 'UserRegistered', data: registered}, {type: 'UserErased', data: {userId}})
      const {result, isStored} = await upload(here.node, bob)
      expect(await result).toEqual({refused: 'NOT_FOUND'})
      expect(await here.place.happened()).toEqual([])
      expect(isStored()).toBe(false)
    })
  })
})
