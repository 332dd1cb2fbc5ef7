import {isRefusal, type Refusal} from '../domain/event.ts'
import {decideUpload, type UploadKey} from '../domain/upload.ts'
import type {Actor} from '../domain/user.ts'
import {userFold, userStream} from '../streams/streams.ts'
import type {File} from '../uploads/file.ts'
import type {UploadStore} from '../uploads/uploads.ts'
import type {CommandContext, Execute} from './execute.ts'

/** Stores the file and writes it down. Where that fails, the file is removed again: nobody has learned its key. */
export const uploadFile = async (
  {execute, store}: {execute: Execute; store: UploadStore},
  {by, file, key}: {by: Actor; file: File; key: UploadKey},
  context: Omit<CommandContext, 'name' | 'actor'>,
): Promise<{position: bigint} | Refusal> => {
  await store.put(file, key)
  const {mediaType, bytes} = file
  const removed = () => store.remove(key).catch(() => {})
  try {
    const uploaded = await execute.execute(
      userStream(by.userId),
      userFold,
      {...context, name: 'uploadFile', actor: by.userId},
      (user) => decideUpload(user, {userId: by.userId, key, mediaType, bytes}),
    )
    if (!isRefusal(uploaded)) return {position: uploaded.position!}
    await removed()
    return uploaded
  } catch (error) {
    await removed()
    throw error
  }
}
