using SafetyFilter.Training.Unicode;

// unicode-fold DATA FILE: writes the table behind TextNormalizer, to be done only when the featurizer itself changes.
if (args is ["unicode-fold", var data, var file])
{
    File.WriteAllText(file, UnicodeFoldWriter.Write(data));
}

return 0;
